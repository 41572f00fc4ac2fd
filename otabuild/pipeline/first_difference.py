"""Checks whether two builds of one recipe made the same image, and finds the first difference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from otabuild.comparison.diff_entries import diff_entries
from otabuild.format import limits
from otabuild.format.digest import Descriptor, format_digest
from otabuild.image.image import Image, Payload

_OTHER_BYTES = "the same values in different bytes"


def first_difference(one: Image, other: Image) -> str | None:
    """Return the first object in which two images differ, causes before consequences, or None.

    Raises:
        OtabuildError: one of them is not a valid image.
    """
    return next(_differences(one, other), None)


def _differences(one: Image, other: Image) -> Iterator[str]:
    payloads = {payload.name: payload for payload in one.payloads}
    twins = {payload.name: payload for payload in other.payloads}
    for name in sorted(payloads.keys() | twins.keys()):
        if name in payloads and name in twins:
            yield from _in_payload(name, payloads[name], twins[name], (one, other))
        else:
            yield f"payload {name}: only in the {'first' if name in payloads else 'second'}"
    yield from _in_resources(one, other)
    yield from _in_json("index.json", one.index_raw, other.index_raw)
    if one.token_raw != other.token_raw:
        yield "index.jwt: a different signature of the same index.json"
    yield from _in_files(one, other)


def _in_payload(
    name: str, one: Payload, other: Payload, images: tuple[Image, Image]
) -> Iterator[str]:
    if one.manifest.file_table != other.manifest.file_table:
        for change in diff_entries(one.entries(), other.entries()):
            aspects = ", ".join(f"{a.name} {a.before} and {a.after}" for a in change.aspects)
            yield f"path {change.path} of payload {name}: {aspects or change.kind}"
        yield f"file table of payload {name}: {_OTHER_BYTES}"
    if one.sys_config != other.sys_config:
        yield f"sys_config of payload {name}"
    for what, pair in (
        ("config", (one.manifest.config, other.manifest.config)),
        ("manifest", (one.descriptor, other.descriptor)),
    ):
        yield from _in_json(f"{what} of payload {name}", *map(_read, images, pair))


def _read(image: Image, descriptor: Descriptor) -> bytes:
    return image.blobs.read(descriptor, limits.DOCUMENT)


def _in_resources(one: Image, other: Image) -> Iterator[str]:
    if one.index.resource_table == other.index.resource_table:
        return
    for row, twin in zip_longest(one.resources.rows(), other.resources.rows()):
        if row != twin:
            found = row or twin
            yield f"resource table: {_name(one if row else other, found.digest)}: {row} and {twin}"
    yield f"resource table: {_OTHER_BYTES}"


def _name(image: Image, digest: bytes) -> str:
    """Describe a resource: the content of a path, or a bundle or frame of contents."""
    for payload in image.payloads:
        for entry in payload.entries():
            if entry.digest == digest:
                return f"content of path {entry.path} of payload {payload.name}"
    return f"stored form {format_digest(digest)}"


def _in_json(where: str, one: bytes, other: bytes) -> Iterator[str]:
    if one != other:
        yield from _in_values(where, json.loads(one), json.loads(other))
        yield f"{where}: {_OTHER_BYTES}"


def _in_values(where: str, one: Any, other: Any) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _in_values(f"{where}: {key}", one.get(key), other.get(key))
    elif isinstance(one, list) and isinstance(other, list):
        for number, pair in enumerate(zip_longest(one, other)):
            yield from _in_values(f"{where}: {number}", *pair)
    elif one != other:
        yield f"{where}: {one!r} and {other!r}"


def _in_files(one: Image, other: Image) -> Iterator[str]:
    """Yield differences in names, and in the bytes of everything without a digest."""
    for member, twin in zip_longest(one.source.members(), other.source.members()):
        if member is None or twin is None or member.name != twin.name:
            yield f"file {(member or twin).name}: only in one of them, or in a different place"
        elif not member.name.startswith("blobs/") and not member.name.endswith("/"):
            contents = [b"".join(image.source.chunks(member.name)) for image in (one, other)]
            if contents[0] != contents[1]:
                yield f"file {member.name}"
