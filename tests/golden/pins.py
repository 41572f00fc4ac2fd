"""What is pinned of an image: SHA-256 of artifact, documents, tables and one bundle; and the file that keeps the pins."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import msgpack
import zstandard

from tests.golden.worlds import make_image

FILE = Path(__file__).parent / "pins.json"
LIBRARIES = {"libzstd": ".".join(map(str, zstandard.ZSTD_VERSION)), "SQLite": sqlite3.sqlite_version}
"""The libraries here whose version can change bytes."""
RAW = "raw "
"""Prefix of a table or bundle as the builder made it, before it was compressed."""
ROWS = "rows of "
"""Prefix of the schema and rows of a table, however SQLite lays them out in pages."""


def libraries_of(pin: str) -> set[str]:
    """Return the libraries whose version a pin depends on.

    SQLite versions leave different bytes in the unused space of a page. The resource table has the digests of
    compressed blobs in its rows, and every document has those of the tables.
    """
    if pin in ("certificate.pem", "metadata.jwt", f"{RAW}bundle") or pin.startswith(ROWS):
        return set()
    if pin == "bundle":
        return {"libzstd"}
    return {"SQLite"} if pin.startswith(f"{RAW}file table") else {*LIBRARIES}


def pins_of(case: str, folder: Path) -> dict[str, str]:
    """Build the image of a case in an empty folder, and return its pins by name."""
    artifact = make_image(case, folder)
    with zipfile.ZipFile(artifact) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    found = {"artifact": artifact.read_bytes(), "index.json": files["index.json"], "index.jwt": files["index.jwt"]}
    found |= {name: content for name, content in files.items() if name in ("metadata.jwt", "certificate.pem")}
    index = json.loads(files["index.json"])
    *others, table = index["manifests"]
    found["resource table"] = _blob(files, table)
    for descriptor in others:
        if "file-based" in descriptor.get("artifactType", ""):
            manifest = json.loads(_blob(files, descriptor))
            ecu = descriptor["annotations"]["vnd.tier4.pilot-auto.platform.ecu"]
            found[f"file table {ecu}"] = _blob(files, manifest["layers"][0])
    found["bundle"] = _largest_bundle(_decompressed(found["resource table"]), files)
    tables = [name for name in found if name.startswith("file table")]
    found |= {f"{RAW}{name}": _decompressed(found[name]) for name in (*tables, "resource table", "bundle")}
    found |= {f"{ROWS}{name}": _rows(found[f"{RAW}{name}"]) for name in tables}
    return {name: hashlib.sha256(content).hexdigest() for name, content in sorted(found.items())}


def _blob(files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    return files[f"blobs/sha256/{descriptor['digest'].removeprefix('sha256:')}"]


def _decompressed(frame: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(frame)


def _rows(table: bytes) -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(table)
        schema = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY rowid").fetchall()
        rows = [connection.execute(f"SELECT * FROM {name}").fetchall() for kind, name, _ in schema if kind == "table"]
    return repr((schema, rows)).encode()


def _largest_bundle(table: bytes, files: dict[str, bytes]) -> bytes:
    """Return the stored blob of the largest bundle: the frame that most members are cut out of."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(table)
        rows = connection.execute("SELECT resource_id, digest, filter_applied FROM rs_manifest")
        found = {number: (digest, filter_) for number, digest, filter_ in rows}
    bundles: dict[int, int] = {}
    for _, filter_ in found.values():
        if filter_ is not None and filter_.startswith(b"b:"):
            bundle, _, length = msgpack.unpackb(filter_[2:])
            bundles[bundle] = bundles.get(bundle, 0) + length
    largest = max(bundles, key=lambda number: (bundles[number], number))
    frame, _ = msgpack.unpackb(found[largest][1][2:])
    return files[f"blobs/sha256/{found[frame][0].hex()}"]
