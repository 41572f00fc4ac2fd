"""Commands about one image, such as list-image, inspect-blob, get-filetable, ls, cat, otaclient."""

from __future__ import annotations

import argparse
import json
import posixpath
import shutil
import stat
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from otabuild.commands.output import (
    Parsers,
    add_bounds,
    add_compat,
    add_image,
    add_json,
    add_payload,
    checked,
    chosen,
    emit,
    opened,
    option_type,
)
from otabuild.errors import printable
from otabuild.format.digest import parse_digest
from otabuild.format.sizes import human_size
from otabuild.format.times import utc
from otabuild.progress import show_progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otabuild.image.list_image import ImageList
    from otabuild.image.tables import FileEntry


_PATH = "absolute path in the rootfs, such as /etc/hostname"


def add(parsers: Parsers) -> None:
    """Add the commands of this module."""
    parsers.group("Look")
    listing = parsers.add_parser(
        "list-image", help="show what an image is: its size, signer and project, and its payloads"
    )
    add_image(listing)
    add_json(listing)
    listing.set_defaults(run=run_list)

    index = parsers.add_parser("inspect-index", help="print index.json, indented")
    add_image(index)
    add_json(index)
    index.set_defaults(run=run_index)

    blob = parsers.add_parser(
        "inspect-blob",
        help="print a blob by its digest, or write it to a file; its bytes are verified",
    )
    add_image(blob)
    blob.add_argument(
        "--checksum",
        required=True,
        metavar="sha256:HEX",
        type=option_type(checked(parse_digest)),
        help="digest of the blob",
    )
    blob.add_argument("-o", "--output", metavar="FILE", help="write it to this file")
    blob.add_argument("--bytes", action="store_true", help="print its bytes even to a terminal")
    add_json(blob)
    blob.set_defaults(run=run_blob)

    lookup = parsers.add_parser("lookup-image", help="print manifest and config of a payload")
    add_image(lookup)
    add_payload(lookup)
    lookup.add_argument("--image-config", action="store_true", help="print the image config only")
    add_json(lookup)
    lookup.set_defaults(run=run_lookup)

    for name, table in (
        ("get-filetable", "file table of a payload"),
        ("get-resourcetable", "resource table"),
    ):
        parser = parsers.add_parser(
            name, help=f"write the {table} to a file, as an SQLite database"
        )
        add_image(parser)
        if name == "get-filetable":
            add_payload(parser)
        parser.add_argument(
            "-o", "--output", required=True, metavar="FILE", help="the file to write"
        )
        add_json(parser)
        add_compat(parser)
        parser.set_defaults(run=run_table)

    _add_paths(parsers)

    package = parsers.add_parser(
        "otaclient-package", help="list or export the otaclient package of an image"
    )
    add_image(package)
    package.add_argument(
        "-o", "--output", metavar="DIR", help="write the release folder to this new folder"
    )
    add_json(package)
    package.set_defaults(run=run_otaclient)


def _add_paths(parsers: Parsers) -> None:
    """Add the commands about paths of a payload."""
    for name, what in (
        ("ls", "list a directory of a payload"),
        ("stat", "show owner, mode, attributes and content of an entry of a payload"),
        ("cat", "print a file of a payload; its bytes are verified first"),
    ):
        parser = parsers.add_parser(name, help=what)
        add_image(parser)
        add_payload(parser)
        if name == "ls":
            parser.add_argument(
                "path", nargs="?", default="/", metavar="PATH", help=f"{_PATH}; default: /"
            )
            parser.add_argument(
                "-R",
                "--recursive",
                action="store_true",
                help="list everything below, with whole paths",
            )
        else:
            parser.add_argument("path", metavar="PATH", help=_PATH)
        if name == "cat":
            add_bounds(parser)
        else:
            add_json(parser)
        add_compat(parser)
        parser.set_defaults(run={"ls": run_ls, "stat": run_stat, "cat": run_cat}[name])

    extract = parsers.add_parser(
        "extract",
        help=(
            "write a directory of a payload to a new one that is yours, without owners, attributes "
            "and whiteouts"
        ),
    )
    add_image(extract)
    add_payload(extract)
    extract.add_argument(
        "path", metavar="PATH", help="absolute path of a directory in the rootfs, such as /etc"
    )
    extract.add_argument(
        "-o", "--output", metavar="DIR", required=True, help="the directory to make"
    )
    add_json(extract)
    add_bounds(extract)
    add_compat(extract)
    extract.set_defaults(run=run_extract)


def run_list(args: argparse.Namespace) -> int:
    """List the content of an image."""
    from otabuild.image.list_image import list_image

    with opened(args, args.image) as image:
        found = list_image(image)
    emit(args, found.to_value(), map(printable, _image_lines(found)))
    return 0


def _image_lines(found: ImageList) -> Iterator[str]:
    """Describe an image: first the whole, then each payload."""
    from otabuild.format import annotations as ann

    form = "artifact" if found.is_artifact else "directory"
    yield f"{'signed' if found.is_signed else 'unsigned'} {form}, {human_size(found.size)}"
    short = {key: found.annotations.get(full) for key, full in ann.INDEX_SHORT_KEYS.items()}
    created = found.annotations.get(ann.CREATED_AT)
    signed = "" if found.signed_at is None else f", at {utc(found.signed_at)}"
    yield from _facts(
        {
            "created": utc(created) if isinstance(created, int) else None,
            "signer": found.signer and f"{found.signer}{signed} (not checked)",
            "project": " ".join(
                str(part) for key in ("name", "version") if (part := short[f"project.{key}"])
            ),
            "platform": short["platform"],
        }
    )
    for payload in found.payloads:
        config, labels = payload.config, payload.config.labels
        size = labels.get(ann.ROOTFS_SIZE)
        yield f"payload {payload.ecu}/{payload.release_key}  {payload.digest}"
        yield from _facts(
            {
                "architecture": config.architecture,
                "os": " ".join(filter(None, (config.os, config.os_version))),
                "base image": labels.get(ann.BASE_IMAGE),
                "rootfs": None if size is None else human_size(size),
            }
        )
    yield from (
        f"partition-based payload {name} (verified, not deployed)"
        for name in found.partition_payloads
    )
    if found.has_update_agent:
        yield "update agent package"
    if found.has_otaclient_package:
        yield "otaclient package"
    yield from (f"unknown entry {entry.media_type} {entry.digest_text}" for entry in found.unknown)


def _facts(facts: dict[str, object]) -> Iterator[str]:
    """List names and values one below the other; skip names without a value."""
    return (f"  {name:<12}  {value}" for name, value in facts.items() if value)


def run_index(args: argparse.Namespace) -> int:
    """Print index.json, whatever JSON it is."""
    from otabuild.format import limits
    from otabuild.format.document import parse_json

    with opened(args, args.image) as image:
        document = parse_json(image.index_raw, "index.json", limits.INDEX)
    _print_document(args, document)
    return 0


def _print_document(args: argparse.Namespace, document: Any) -> None:
    """Print a document as it is; with --json, an object that says whether it could be read."""
    if args.json:
        members = document if isinstance(document, dict) else {"document": document}
        document = {**members, "ok": True}
    print(json.dumps(document, indent=2))


def run_blob(args: argparse.Namespace) -> int:
    """Print a blob, or write it to a file."""
    from otabuild.errors import InputError
    from otabuild.image.inspect_blob import inspect_blob, save_blob

    with opened(args, args.image) as image:
        if args.output:
            written = save_blob(image, args.checksum, args.output)
            emit(args, written.to_value(), [f"{written.path}  {human_size(written.size)}"])
            return 0
        content = b"".join(inspect_blob(image, args.checksum))
    if sys.stdout.isatty() and not args.bytes and not _is_plain_text(content):
        raise InputError(
            "the blob is not text",
            where=args.checksum,
            hint="write it with -o FILE, or give --bytes",
        )
    sys.stdout.buffer.write(content)
    return 0


def _is_plain_text(content: bytes) -> bool:
    """Whether a terminal shows just this text: ASCII, without control characters."""
    return all(32 <= byte < 127 or byte in b"\t\n\r" for byte in content)


def run_lookup(args: argparse.Namespace) -> int:
    """Print manifest and config of a payload."""
    with opened(args, args.image) as image:
        payload = chosen(args, image)
        value = config = payload.config.to_value()
        if not args.image_config:
            value = {"manifest": payload.manifest.to_value(), "config": config}
    _print_document(args, value)
    return 0


def run_table(args: argparse.Namespace) -> int:
    """Write a table to a file."""
    from otabuild.image.inspect_blob import get_filetable, get_resourcetable

    with opened(args, args.image) as image:
        if "ecu_id" in args:
            written = get_filetable(image, chosen(args, image), args.output)
        else:
            written = get_resourcetable(image, args.output)
    emit(args, written.to_value(), [f"{written.path}  {human_size(written.size)}"])
    return 0


def run_ls(args: argparse.Namespace) -> int:
    """List a directory."""
    with opened(args, args.image) as image:
        found = list(chosen(args, image).ls(args.path, recursive=args.recursive))
    # The directory itself may be listed, and that of the root has no name.
    names = [
        entry.path if args.recursive else posixpath.basename(entry.path) or "/" for entry in found
    ]
    emit(args, {"entries": [entry.to_value() for entry in found]}, map(_line, found, names))
    return 0


def _line(entry: FileEntry, name: str) -> str:
    arrow = f" -> {entry.target}" if entry.target is not None else ""
    owner = f"{entry.uid}:{entry.gid}"
    return printable(f"{stat.filemode(entry.mode)} {owner:>11} {entry.size:>11} {name}{arrow}")


def run_stat(args: argparse.Namespace) -> int:
    """Show an entry."""
    with opened(args, args.image) as image:
        value = chosen(args, image).stat(args.path).to_value()
    emit(args, value, [printable(f"{name}: {fact}") for name, fact in value.items()])
    return 0


def run_cat(args: argparse.Namespace) -> int:
    """Print a file."""
    with opened(args, args.image) as image, chosen(args, image).open(args.path) as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.flush()  # before the notes
    return 0


def run_extract(args: argparse.Namespace) -> int:
    """Write a directory."""
    from otabuild.deployment.extract import extract

    with opened(args, args.image) as image:
        found = extract(
            chosen(args, image), args.path, args.output, progress=partial(show_progress, "extract")
        )
    line = (
        f"{found.target}: {found.path} of {found.payload}, {human_size(found.content_size)}, "
        "signature NOT checked"
    )
    emit(args, found.to_value(), [printable(line)])
    return 0


def run_otaclient(args: argparse.Namespace) -> int:
    """List or export the otaclient package."""
    from otabuild.image.otaclient_package import export_otaclient_package, list_otaclient_package

    with opened(args, args.image) as image:
        if args.output:
            names = export_otaclient_package(image, args.output)
            emit(args, {"files": list(names)}, names)
            return 0
        found = list_otaclient_package(image)
    packages = () if found.release is None else found.release.packages
    lines = [*(package.filename for package in packages), *(name for name, _ in found.legacy_files)]
    emit(args, found.to_value(), map(printable, lines or ["no otaclient package"]))
    return 0
