"""Threat F8: filters nested in any order return the same bytes as the model."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from otabuild.image.image import open_image
from tests.image import forge
from tests.image.forge import frame, sha256

_FIRST = 100


class _Model:
    """Wraps a content in filters, and records the rows and blobs for that."""

    def __init__(self) -> None:
        self.rows: dict[int, list[object]] = {}
        self.blobs: dict[bytes, bytes] = {}

    def add(self, content: bytes, filter_: bytes | None) -> int:
        number = _FIRST + len(self.rows)
        self.rows[number] = [number, sha256(content), len(content), filter_, None]
        if filter_ is None:
            self.blobs[sha256(content)] = content
        return number

    def store(self, content: bytes, filters: str) -> int:
        """Store a content with these filters, the outermost first; return its resource."""
        if not filters:
            return self.add(content, None)
        code, inner = filters[0], filters[1:]
        if code == "c":
            options: list[object] = [self.store(frame(content), inner), "zstd"]
        elif code == "b":
            options = [self.store(b"before " + content + b" after", inner), 7, len(content)]
        else:
            middle = len(content) // 2
            options = [self.add(content[:middle], None), self.add(content[middle:], None)]
        return self.add(content, f"{code}:".encode() + msgpack.packb(options))


@settings(max_examples=20)
@given(
    content=st.binary(min_size=100, max_size=3000).filter(lambda c: c[: len(c) // 2] != c[len(c) // 2 :]),
    filters=st.tuples(st.text("cb", max_size=3), st.sampled_from(["", "s"])).map("".join),
)
def test_f8_nested_filters_give_the_content(content: bytes, filters: str) -> None:
    model = _Model()
    wanted = model.store(content, filters)
    image = forge.forge(resources=lambda _: with_model(model))
    with tempfile.TemporaryDirectory() as folder, open_image(image.artifact(Path(folder) / "image.zip")) as opened:
        row = opened.resources.by_id(wanted, "test")
        assert b"".join(opened.resources.plan(row).stream(opened.blobs)) == content
        (group,) = opened.resources.groups(lambda each: True if each.resource_id == wanted else None)
        bundle = b"".join(group.bundle.stream(opened.blobs)) if group.bundle else b""
        (member,) = group.members
        if member.plan is None:
            assert bundle[member.offset : member.offset + row.size] == content
        else:
            assert b"".join(member.plan.stream(opened.blobs)) == content


def test_contents_that_are_looked_up_come_in_the_groups_of_a_scan() -> None:
    model, digests = _Model(), list[bytes]()
    for content in (b"one" * 50, b"two" * 50, b"three" * 50):
        bundle = model.store(content, "c")
        for start in (0, 41):
            part = content[start : start + 70]
            model.add(part, b"b:" + msgpack.packb([bundle, start, len(part)]))
            digests.append(sha256(part))
    model.store(b"single" * 50, "")
    digests.append(sha256(b"single" * 50))
    image = forge.forge(resources=lambda _: with_model(model))
    with tempfile.TemporaryDirectory() as folder, open_image(image.artifact(Path(folder) / "image.zip")) as opened:
        resources = opened.resources
        scanned = list(resources.groups(lambda row: row.digest if row.digest in digests else None))
        assert [len(group.members) for group in scanned] == [1, 2, 2, 2]
        assert list(resources.groups_of(reversed(digests))) == scanned


def with_model(model: _Model) -> tuple[dict[int, list[object]], dict[bytes, bytes]]:
    rows, blobs = forge.resource_rows()
    return rows | model.rows, blobs | model.blobs
