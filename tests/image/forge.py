"""A second image writer for tests: makes a small valid image, with any part changed before the parts above it are made.

It shares nothing with `otabuild.build`. A test names a stage and a change to it. Everything above that stage is rebuilt
from the result (digests, labels, counts, signature), so that only the tested check can fail.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import zstandard

from otabuild.signing.trust import TrustPolicy
from tests import pki
from tests.image.zip_forge import Entry, zip_bytes

OTA = "application/vnd.tier4.ota.file-based-ota-image"
PILOT = "vnd.tier4.pilot-auto.platform"
LABEL = "vnd.tier4.image.rootfs"
COUNT = "vnd.tier4.ota.image"
EMPTY = hashlib.sha256(b"").digest()

FILE_TABLE_SQL = """
CREATE TABLE ft_inode (inode_id INTEGER PRIMARY KEY,uid INTEGER NOT NULL,gid INTEGER NOT NULL,mode INTEGER NOT NULL,links_count INTEGER,xattrs BLOB);
CREATE TABLE ft_regular (path TEXT PRIMARY KEY,inode_id INTEGER NOT NULL,resource_id INTEGER) WITHOUT ROWID;
CREATE TABLE ft_non_regular (path TEXT PRIMARY KEY,inode_id INTEGER NOT NULL,meta BLOB) WITHOUT ROWID;
CREATE TABLE ft_dir (path TEXT PRIMARY KEY,inode_id INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE ft_resource (resource_id INTEGER PRIMARY KEY,digest BLOB NOT NULL UNIQUE,size INTEGER NOT NULL,contents BLOB);
CREATE INDEX fr_resource_id_index ON ft_regular (resource_id);
CREATE INDEX fr_inode_id_index ON ft_regular (inode_id);
CREATE INDEX fnr_inode_id_index ON ft_non_regular (inode_id);
CREATE INDEX fd_inode_id_index ON ft_dir (inode_id);
"""
RESOURCE_TABLE_SQL = """
CREATE TABLE rs_manifest (resource_id INTEGER PRIMARY KEY,digest BLOB NOT NULL UNIQUE,size INTEGER NOT NULL,filter_applied BLOB,meta BLOB);
"""

_random = random.Random(7)
TEXT = b"a line that compresses well\n" * 100
BIG_TEXT = b"another line, longer than one slice of it\n" * 4000
RANDOM = _random.randbytes(900)
SLICES = [_random.randbytes(400), _random.randbytes(300)]
MEMBERS = [b"first member of the bundle " * 4, b"second member " * 10]
INLINE = b"hello\n"

Mutation = Callable[[Any], Any]
"""Takes a stage and changes it in place, or returns its replacement."""


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def digest_text(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def frame(data: bytes, **options: Any) -> bytes:
    """Return a zstd frame in the form that the format requires, unless told otherwise."""
    good: dict[str, Any] = {"level": 3, "write_checksum": True, "write_content_size": True}
    return zstandard.ZstdCompressor(**(good | options)).compress(data)


def applied(mutation: Mutation | None, stage: Any) -> Any:
    result = mutation(stage) if mutation is not None else None
    return stage if result is None else result


@dataclass
class Forged:
    """The files of an image, in the order of the artifact."""

    files: list[tuple[str, bytes]]
    zip_mutation: Mutation | None = None
    raw_mutation: Mutation | None = None
    tree: dict[str, bytes | None] = field(default_factory=dict)

    def artifact(self, path: Path) -> Path:
        entries = applied(self.zip_mutation, [Entry(name, data) for name, data in self.files])
        path.write_bytes(applied(self.raw_mutation, zip_bytes(entries)))
        return path

    def directory(self, path: Path) -> Path:
        for name, data in self.files:
            target = path / name
            if name.endswith("/"):
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        return path


def policy() -> TrustPolicy:
    return TrustPolicy(anchors=pki.anchors())


def database(
    script: str, tables: dict[str, list[tuple[Any, ...]]], mutation: Mutation | None, extra: str = ""
) -> bytes:
    """Return the bytes of an SQLite file; `mutation` gets the open connection before it is closed."""
    fd, name = tempfile.mkstemp()
    os.close(fd)
    connection = sqlite3.connect(name, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(script)
        connection.execute("BEGIN")
        for table, rows in tables.items():
            for row in rows:
                connection.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)
        connection.execute("COMMIT")
        applied(mutation, connection)
        connection.execute("VACUUM")
    finally:
        connection.close()
    raw = Path(name).read_bytes()
    os.unlink(name)
    return raw


def file_rows() -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of the valid file table."""
    contents = [b"", INLINE, *MEMBERS, TEXT, RANDOM, b"".join(SLICES), BIG_TEXT]
    reg, directory, link, char = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR
    xattrs = msgpack.packb({"user.note": b"\0\1"})
    inodes = [
        (1, 0, 0, directory | 0o755, None, None),
        (2, 0, 0, directory | 0o755, None, None),
        (3, 1, 2, directory | 0o1777, None, xattrs),
        (4, 0, 0, link | 0o777, None, None),
        (5, 0, 0, link | 0o777, 2, None),
        (6, 0, 0, char | 0o000, None, None),
        (10, 0, 0, reg | 0o644, None, None),
        (11, 5, 6, reg | 0o600, None, xattrs),
        (12, 0, 0, reg | 0o644, None, None),
        (13, 0, 0, reg | 0o644, None, None),
        (14, 0, 0, reg | 0o4755, 3, None),
        (15, 0, 0, reg | 0o644, None, None),
        (16, 0, 0, reg | 0o644, None, None),
        (17, 0, 0, reg | 0o444, None, None),
        (18, 0, 0, reg | 0o640, None, None),
    ]
    return {
        "ft_inode": inodes,
        "ft_dir": [("/", 1), ("/bin", 2), ("/etc", 3)],
        "ft_non_regular": [
            ("/etc/link", 4, b"../bin/tool"),
            ("/l1", 5, b"etc"),
            ("/l2", 5, b"etc"),
            ("/etc/gone", 6, None),
        ],
        "ft_regular": [
            ("/etc/empty", 10, 0),
            ("/etc/motd", 11, 1),
            ("/etc/a", 12, 2),
            ("/etc/b", 13, 3),
            ("/bin/tool", 14, 4),
            ("/bin/tool-again", 14, 4),
            ("/etc/tool", 14, 4),
            ("/bin/random", 15, 5),
            ("/bin/sliced", 16, 6),
            ("/bin/big", 17, 7),
            ("/bin/copy", 18, 5),
        ],
        "ft_resource": [
            (i, sha256(content), len(content), content if len(content) <= 64 else None)
            for i, content in enumerate(contents)
        ],
    }


def resource_rows() -> tuple[dict[int, list[Any]], dict[bytes, bytes]]:
    """Return the rows of the valid resource table by id, and the blobs."""
    bundle = b"".join(MEMBERS)
    bundle_frame, text_frame, big_frame = frame(bundle), frame(TEXT), frame(BIG_TEXT)
    half = len(big_frame) // 2
    halves = [big_frame[:half], big_frame[half:]]
    leaves = [bundle_frame, text_frame, RANDOM, *SLICES, *halves]
    rows: dict[int, list[Any]] = {}

    def add(number: int, content: bytes, filter_: bytes | None) -> None:
        rows[number] = [number, sha256(content), len(content), filter_, None]

    add(1, MEMBERS[0], b"b:" + msgpack.packb([20, 0, len(MEMBERS[0])]))
    add(2, MEMBERS[1], b"b:" + msgpack.packb([20, len(MEMBERS[0]), len(MEMBERS[1])]))
    add(3, TEXT, b"c:" + msgpack.packb([11, "zstd"]))
    add(4, b"".join(SLICES), b"s:" + msgpack.packb([13, 14]))
    add(5, BIG_TEXT, b"c:" + msgpack.packb([21, "zstd"]))
    for number, leaf in enumerate(leaves, 10):
        add(number, leaf, None)
    add(20, bundle, b"c:" + msgpack.packb([10, "zstd"]))
    add(21, big_frame, b"s:" + msgpack.packb([15, 16]))
    return rows, {sha256(leaf): leaf for leaf in leaves}


def labels_of(raw: bytes) -> dict[str, int]:
    """Return the labels for a file table; zeros if it cannot be read."""
    if not raw:
        return {}
    queries = {
        f"{COUNT}.blobs-count": "SELECT count(*) FROM ft_resource WHERE contents IS NULL AND size > 0",
        f"{COUNT}.blobs-size": "SELECT coalesce(sum(size), 0) FROM ft_resource WHERE contents IS NULL AND size > 0",
        f"{LABEL}.size": "SELECT coalesce(sum(size), 0) FROM ft_regular JOIN ft_resource USING (resource_id)",
        f"{LABEL}.regular-files-count": "SELECT count(*) FROM ft_regular",
        f"{LABEL}.non-regular-files-count": "SELECT count(*) FROM ft_non_regular",
        f"{LABEL}.dirs-count": "SELECT count(*) FROM ft_dir",
        f"{LABEL}.unique-files-entries-count": "SELECT count(*) FROM ft_resource",
        f"{LABEL}.unique-files-entries-size": "SELECT coalesce(sum(size), 0) FROM ft_resource",
    }
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.set_progress_handler(lambda: 1, 10_000_000)  # a view may never end
        connection.deserialize(raw)
        try:
            return {label: int(connection.execute(query).fetchone()[0]) for label, query in queries.items()}
        except (sqlite3.DatabaseError, OverflowError, ValueError):
            return dict.fromkeys(queries, 0)


class _Builder:
    def __init__(self, mutations: dict[str, Mutation]) -> None:
        self.mutations = mutations
        self.blobs: dict[bytes, bytes] = {}

    def at(self, stage: str, value: Any) -> Any:
        return applied(self.mutations.pop(stage, None), value)

    def put(self, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        self.blobs[sha256(data)] = data
        return {"mediaType": media_type, "digest": digest_text(data), "size": len(data), **more}

    def json(self, stage: str, value: dict[str, Any]) -> bytes:
        encoded = json.dumps(self.at(stage, value), ensure_ascii=False).encode()
        return bytes(self.at(f"{stage}_raw", encoded))

    def table(
        self, stage: str, script: str, rows: dict[str, list[tuple[Any, ...]]], kind: str
    ) -> tuple[dict[str, Any], bytes]:
        raw = self.at(f"{stage}_raw", database(script, self.at(f"{stage}_rows", rows), self.mutations.pop(stage, None)))
        compressed = self.at(f"{stage}_frame", frame(raw))
        return self.put(compressed, f"{OTA}.{kind}.v1.sqlite3+zstd"), raw

    def build(self) -> Forged:
        rows, leaves = self.at("resources", resource_rows())
        self.blobs.update(self.at("leaves", leaves))
        resource_table, _ = self.table(
            "resource_table",
            RESOURCE_TABLE_SQL,
            {"rs_manifest": [tuple(row) for row in rows.values()]},
            "resource_table",
        )
        file_table, raw = self.table("file_table", FILE_TABLE_SQL, file_rows(), "file_table")
        payloads = [self.payload(file_table, raw)]
        if "second" in self.mutations:
            payloads.append(self.payload(self.at("second", file_table), raw, ecu="sub"))
        manifests = self.at("manifests", [*payloads, resource_table])
        names = self.at("blob_files", {f"blobs/sha256/{d.hex()}": data for d, data in self.blobs.items()})
        index = self.json("index", self.index(manifests, [data for name, data in names.items()]))
        signed = [("index.json", index)]
        claims = pki.claims(
            image_index={
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "digest": digest_text(index),
                "size": len(index),
            }
        )
        token = self.at("token", pki.token(pki.header(), self.at("claims", claims)))
        if token:
            signed.append(("index.jwt", token))
        layout = self.at("oci_layout", b'{"imageLayoutVersion":"1.0.0"}')
        rest = [("blobs/", b""), ("blobs/sha256/", b""), *names.items(), ("oci-layout", layout)]
        files = self.at("files", signed + sorted(rest))
        forged = Forged(files, self.mutations.pop("zip", None), self.mutations.pop("artifact", None))
        assert not self.mutations, f"no such stage: {list(self.mutations)}"
        return forged

    def payload(self, file_table: dict[str, Any], raw: bytes, ecu: str = "main") -> dict[str, Any]:
        sys_config = self.put(
            self.at("sys_config", b"hostname: main\n"), "application/vnd.tier4.ota.sys-config.v1+yaml"
        )
        labels = {"vnd.tier4.image.base-image": "debian:12", "vnd.tier4.image.os": "Debian", **labels_of(raw)}
        config = {
            "schemaVersion": 1,
            "mediaType": f"{OTA}.config.v1+json",
            "resource_digest_alg": "sha256",
            "architecture": "x86_64",
            "os": "Debian",
            "sys_config": self.at("sys_config_descriptor", sys_config),
            "file_table": dict(file_table),
            "labels": labels,
        }
        config_descriptor = self.put(self.json("config", config), f"{OTA}.config.v1+json")
        annotations = {f"{PILOT}.ecu": ecu, "vnd.tier4.ota.release-key": "dev"}
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": f"{OTA}.v1",
            "config": self.at("config_descriptor", config_descriptor),
            "layers": [self.at("file_table_descriptor", file_table)],
            "annotations": {**annotations, f"{PILOT}.ecu.architecture": "x86_64"},
        }
        media_type = "application/vnd.oci.image.manifest.v1+json"
        return self.put(self.json("manifest", manifest), media_type, artifactType=f"{OTA}.v1", annotations=annotations)

    def index(self, manifests: list[dict[str, Any]], stored: Sequence[bytes]) -> dict[str, Any]:
        return {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": manifests,
            "annotations": {
                "vnd.tier4.ota.ota-image-builder.version": "forge",
                f"{COUNT}.created-at": pki.NOW,
                f"{COUNT}.signed-at": pki.NOW,
                f"{COUNT}.blobs-count": len(stored),
                f"{COUNT}.blobs-size": sum(map(len, stored)),
            },
        }


def forge(**mutations: Mutation) -> Forged:
    """Return the valid image, with mutations by stage.

    Stages, from the bottom up: `resources` ((rows by id, blobs)), `leaves` (digest -> blob), `resource_table` and
    `file_table` (an open connection; `_rows`, `_raw` and `_frame` of each), `sys_config`, `config`, `manifest`,
    `manifests`, `index` (JSON values; `_raw` of each: bytes), `*_descriptor`, `second` (makes a second payload with
    the same file table; gets the descriptor of that), `blob_files` (name -> bytes), `claims`, `token`, `oci_layout`,
    `files` (list of name and bytes), `zip` (list of Entry) and `artifact` (bytes).
    """
    return _Builder(dict(mutations)).build()
