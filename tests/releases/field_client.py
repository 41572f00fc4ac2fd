"""Fetches a release by HTTP as a vehicle does, knowing nothing but its URL and the format."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import zstandard


class FieldClient:
    """Each request is a plain GET, and all but the first know size and digest.

    Attributes:
        headers: what the server said of each file.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self.headers: dict[str, Message] = {}

    def get(self, name: str) -> bytes:
        with urlopen(f"{self._base}/{name}") as answer:
            self.headers[name] = answer.headers
            content: bytes = answer.read()
            return content

    def described(self, descriptor: dict[str, Any], name: str | None = None) -> bytes:
        """Fetch what a descriptor tells of, a blob unless it has another name."""
        content = self.get(name or f"blobs/{descriptor['digest'].replace(':', '/')}")
        assert len(content) == descriptor["size"]
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == descriptor["digest"]
        return content

    def update(self) -> int:
        """Fetch everything for every payload; return how many blobs of contents there are."""
        claims = self.get("index.jwt").split(b".")[1]
        signed = json.loads(base64.urlsafe_b64decode(claims + b"=" * (-len(claims) % 4)))
        index = json.loads(self.described(signed["image_index"], "index.json"))
        tables = []
        for entry in index["manifests"]:
            raw = self.described(entry)
            if "image.manifest" in entry["mediaType"]:
                manifest = json.loads(raw)
                config = json.loads(self.described(manifest["config"]))
                for one in filter(None, [config.get("sys_config"), *manifest["layers"]]):
                    self.described(one)
            else:
                tables.append(raw)
        blobs = [blob for table in tables for blob in _blobs(table)]
        for digest, size in blobs:
            self.described({"digest": f"sha256:{digest.hex()}", "size": size})
        return len(blobs)


def _blobs(table: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield digest and size of each blob in a resource table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        path.write_bytes(zstandard.ZstdDecompressor().decompressobj().decompress(table))
        connection = sqlite3.connect(path)
        yield from connection.execute("SELECT digest, size FROM rs_manifest WHERE filter_applied IS NULL")
        connection.close()
