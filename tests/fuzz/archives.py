"""Targets: archives, compressed streams, container images, and what is packed in tables and in the work directory."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import zstandard

from otabuild.errors import InputError, OtabuildError
from otabuild.format.compat import Compat
from otabuild.format.file_table import acl_permissions, unpack_xattrs
from otabuild.format.filters import Bundled, Compressed, Filter, Sliced, parse_filter
from otabuild.rootfs.archive import read_archive
from otabuild.rootfs.archive_index import by_path
from otabuild.rootfs.container_files import ArchiveFiles, MissingFileError
from otabuild.rootfs.decompress import Budget, decompressed
from otabuild.rootfs.docker_archive import docker_layers
from otabuild.rootfs.layers import with_whiteouts
from otabuild.rootfs.oci import oci_layers
from otabuild.rootfs.reader import Reader
from otabuild.rootfs.spool import Spool
from otabuild.rootfs.stream import read_entries, write_entries
from otabuild.rootfs.tar_source import TarSource
from otabuild.storage.zip_reader import read_entries as read_zip
from otabuild.storage.zstd import decompress, has_checksum_and_size
from tests.fuzz import mutations
from tests.fuzz.target import Target
from tests.image.forge import forge, frame
from tests.image.zip_forge import Entry as ZipEntry
from tests.image.zip_forge import zip_bytes
from tests.rootfs import tars

LIMIT = 1 << 20


def _zip(raw: bytes) -> object:
    return read_zip(lambda length, offset: raw[offset : offset + length], len(raw))


def _zip_seeds() -> dict[str, bytes]:
    files = forge().files
    small = [ZipEntry(name, data[:40]) for name, data in files]
    return {"image": zip_bytes(small), "two": zip_bytes(small[:2])}


def _archive(raw: bytes, *, layer: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="otabuild-fuzz-") as folder, Spool(f"{folder}/spool") as spool:
        budget = Budget("a.tar")
        archive = read_archive(Reader(iter([raw]), "a.tar"), spool, budget, in_place=False, layer=layer)
        entries = list((with_whiteouts if layer else by_path)(archive, "a.tar"))
        with Spool(f"{folder}/entries") as out:
            write_entries(out, entries)


def _tar_seeds() -> dict[str, bytes]:
    seeds = {}
    for name, kind in (("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=kind) as tar:
            for member in _members(long=kind != tarfile.USTAR_FORMAT):
                tar.addfile(member, io.BytesIO(b"text\n"))
        seeds[name] = file.getvalue().rstrip(b"\0") + bytes(1024 + 512)
        seeds[name] = seeds[name][: len(seeds[name]) // 512 * 512]
    records = (
        (b"SCHILY.xattr.user.note", b"value"),
        (b"LIBARCHIVE.xattr.user.b", b"AAEC"),
        (b"SCHILY.acl.access", b"user::rwx,group::r-x,other::---,user:5:rwx,mask::rwx"),
        (b"mtime", b"1.5"),
        (b"size", b"4"),
    )
    sparse = ((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"2048"))
    seeds["records"] = tars.pax(*records) + tars.member(b"f", b"text") + tars.END
    seeds["sparse"] = tars.pax(*sparse) + tars.member(b"s", b"1\n1024\n512\n".ljust(512, b"\0") + bytes(512)) + tars.END
    return seeds


def _members(*, long: bool) -> Iterator[tarfile.TarInfo]:
    for name, kind, target in (
        ("etc", tarfile.DIRTYPE, ""),
        ("etc/file", tarfile.REGTYPE, ""),
        ("etc/hard", tarfile.LNKTYPE, "etc/file"),
        ("link", tarfile.SYMTYPE, "etc/file"),
        ("etc/.wh.gone", tarfile.REGTYPE, ""),
        ("null", tarfile.CHRTYPE, ""),
        ("n" * (180 if long else 90), tarfile.REGTYPE, ""),
    ):
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        member.size = 5 if kind == tarfile.REGTYPE else 0
        yield member


def _compressed(raw: bytes) -> None:
    size = 0
    for part in decompressed(iter([raw]), Budget("a.tar.x")):
        size += len(part)
        if size > 64 * LIMIT:
            return


def _compressed_seeds() -> dict[str, bytes]:
    text = b"some text, some text\n" * 30
    return {
        "gzip": gzip.compress(text, mtime=0) + gzip.compress(b"second", mtime=0),
        "bzip2": bz2.compress(text),
        "xz": lzma.compress(text),
        "zstd": zstandard.compress(text) + zstandard.compress(b"second"),
        "plain": text,
    }


def _frame(raw: bytes) -> None:
    has_checksum_and_size(raw[:18])
    for size, early in ((None, False), (None, True), (630, False)):
        try:
            parts = decompress([raw[:7], raw[7:]], size, LIMIT, "frame", Compat(is_on=early))
            assert sum(map(len, parts)) <= LIMIT
        except OtabuildError as error:
            str(error)


def _frame_seeds() -> dict[str, bytes]:
    text = b"some text, some text\n" * 30
    return {
        "format": frame(text),
        "early": frame(text, write_checksum=False, write_content_size=False),
        "stored": frame(bytes(range(256)) * 2),
        "run": frame(bytes(300_000)),
    }


def _of_frame(data: bytes, random: Random) -> bytes:
    """Change the header of the frame or of a block, where the sizes are, more often than the rest."""
    if random.random() < 0.5:
        return mutations.of_bytes(data[:24], random) + data[24:]
    return mutations.of_bytes(data, random)


def _xattrs(raw: bytes) -> None:
    for value in unpack_xattrs(raw, "inode 1").values():
        acl_permissions(value)


def _filter(raw: bytes) -> None:
    parse_filter(raw, "resource 1").pack()


def _of_filter(data: bytes, random: Random) -> bytes:
    return mutations.after(data[:2], mutations.of_msgpack)(data, random)


def _stream(raw: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(raw)
        file.seek(0)
        list(read_entries(file))


def _stream_seeds() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory(prefix="otabuild-fuzz-") as folder:
        with Spool(f"{folder}/spool") as spool:
            reader = Reader(iter([_tar_seeds()["ustar"]]), "a.tar")
            archive = read_archive(reader, spool, Budget("a.tar"), in_place=False, layer=False)
        out = io.BytesIO()
        write_entries(out, by_path(archive, "a.tar"))
    return {"entries": out.getvalue()}


class _Documents:
    """The documents of a container image, as the JSON object of an input: name -> text or value."""

    where = "image"

    def __init__(self, raw: bytes) -> None:
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError):
            raise InputError("not JSON") from None
        self._files = found if isinstance(found, dict) else {}

    def chunks(self, name: str) -> Iterator[bytes]:
        if name not in self._files:
            raise MissingFileError("missing", where=name)
        yield json.dumps(self._files[name]).encode()


def _layout(raw: bytes) -> None:
    for reference, platform in ((None, None), ("latest", "linux/arm64/v8"), (f"sha256:{'ab' * 32}", "linux/amd64")):
        try:
            oci_layers(_Documents(raw), reference, platform, "x86_64")
        except OtabuildError as error:
            str(error).encode()


def _layout_seed() -> dict[str, bytes]:
    descriptor = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": f"sha256:{'ab' * 32}",
        "size": 5,
        "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
        "annotations": {"org.opencontainers.image.ref.name": "latest"},
    }
    index = {"schemaVersion": 2, "manifests": [descriptor]}
    return {"layout": json.dumps({"oci-layout": {"imageLayoutVersion": "1.0.0"}, "index.json": index}).encode()}


def _docker(raw: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="otabuild-fuzz-") as folder:
        path = Path(folder) / "image.tar"
        with tarfile.open(path, "w") as tar:
            for name, data in (("manifest.json", raw), ("config.json", raw), ("layer.tar", b"")):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        files = ArchiveFiles("image.tar", TarSource(str(path), folder))
        for tag in (None, "a:1"):
            try:
                docker_layers(files, tag, "x86_64")
            except OtabuildError as error:
                str(error).encode()


def _docker_seed() -> dict[str, bytes]:
    image = {"Config": "config.json", "RepoTags": ["docker.io/library/a:1"], "Layers": ["layer.tar"]}
    return {"manifest": json.dumps([image]).encode()}


_FILTERS: dict[str, Filter] = {"bundled": Bundled(20, 0, 108), "compressed": Compressed(11), "sliced": Sliced((13, 14))}

TARGETS = {
    "zip": Target(_zip, _zip_seeds),
    "tar": Target(partial(_archive, layer=False), _tar_seeds, mutations.of_tar, 150),
    "layer": Target(partial(_archive, layer=True), _tar_seeds, mutations.of_tar, 100),
    "decompress": Target(_compressed, _compressed_seeds),
    "zstd": Target(_frame, _frame_seeds, _of_frame),
    "xattrs": Target(_xattrs, lambda: {"one": b"\x81\xa9user.note\xc4\x02\0\1", "none": b"\x80"}, mutations.of_msgpack),
    "filter": Target(_filter, lambda: {name: found.pack() for name, found in _FILTERS.items()}, _of_filter),
    "entries": Target(_stream, _stream_seeds, mutations.of_msgpack),
    "oci-layout-folder": Target(_layout, _layout_seed, mutations.of_json),
    "docker-archive": Target(_docker, _docker_seed, mutations.of_json, 60),
}
