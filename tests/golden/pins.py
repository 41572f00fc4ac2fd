"""What is pinned of an image: SHA-256 of artifact, documents, tables and one bundle; and the file that keeps the pins."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import zstandard

from tests.golden.worlds import make_image

FILE = Path(__file__).parent / "pins.json"
LIBZSTD = ".".join(map(str, zstandard.ZSTD_VERSION))
RAW = "raw "
"""Prefix of what does not depend on libzstd: a table as the builder wrote it, before it is compressed."""


def pins_of(case: str, folder: Path) -> dict[str, str]:
    """Build the image of a case in an empty folder, and return its pins by name."""
    artifact = make_image(case, folder)
    with zipfile.ZipFile(artifact) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    found = {"artifact": artifact.read_bytes(), "index.json": files["index.json"], "index.jwt": files["index.jwt"]}
    found |= {name: content for name, content in files.items() if name in ("metadata.jwt", "certificate.pem")}
    index = json.loads(files["index.json"])
    *others, table = index["manifests"]
    resources = _blob(files, table)
    found["resource table"] = resources
    for descriptor in others:
        if "file-based" in descriptor.get("artifactType", ""):
            manifest = json.loads(_blob(files, descriptor))
            ecu = descriptor["annotations"]["vnd.tier4.pilot-auto.platform.ecu"]
            found[f"file table {ecu}"] = _blob(files, manifest["layers"][0])
    raw = {f"{RAW}{name}": _decompressed(found[name]) for name in list(found) if name.startswith("file table")}
    found |= {**raw, "bundle": _largest_bundle(_decompressed(resources), files)}
    return {name: hashlib.sha256(content).hexdigest() for name, content in sorted(found.items())}


def _blob(files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    return files[f"blobs/sha256/{descriptor['digest'].removeprefix('sha256:')}"]


def _decompressed(frame: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(frame)


def _largest_bundle(table: bytes, files: dict[str, bytes]) -> bytes:
    """Return the stored blob of the largest bundle: the frame that most members are cut out of."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(table)
        file.flush()
        rows = sqlite3.connect(file.name).execute("SELECT resource_id, digest, filter_applied FROM rs_manifest")
        found = {number: (digest, filter_) for number, digest, filter_ in rows}
    import msgpack

    bundles: dict[int, int] = {}
    for _, filter_ in found.values():
        if filter_ is not None and filter_.startswith(b"b:"):
            bundle, _, length = msgpack.unpackb(filter_[2:])
            bundles[bundle] = bundles.get(bundle, 0) + length
    largest = max(bundles, key=lambda number: (bundles[number], number))
    frame, _ = msgpack.unpackb(found[largest][1][2:])
    return files[f"blobs/sha256/{found[frame][0].hex()}"]
