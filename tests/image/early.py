"""What early releases of the reference builder wrote, as changes of a forged image."""

from __future__ import annotations

import base64
import json
import sqlite3
from typing import Any

import zstandard

from tests import pki
from tests.image import forge
from tests.image.forge import Mutation, sha256


def plain_frame(data: bytes, *, with_size: bool = False) -> bytes:
    """Return a frame without a checksum and, unless told otherwise, without the size of its content."""
    compressor = zstandard.ZstdCompressor(level=3, write_content_size=with_size)
    return compressor.compress(data) if with_size else b"".join(compressor.read_to_iter(data))


def reframed(frame: bytes) -> bytes:
    return plain_frame(zstandard.ZstdDecompressor().decompressobj().decompress(frame))


def early_resource_table(table: sqlite3.Connection) -> None:
    rows = table.execute("SELECT * FROM rs_manifest").fetchall()
    table.execute("DROP TABLE rs_manifest")
    table.execute(
        "CREATE TABLE rs_manifest (resource_id INTEGER PRIMARY KEY,digest BLOB NOT NULL,"
        "size INTEGER NOT NULL,filter_applied BLOB,meta BLOB)"
    )
    table.execute("CREATE INDEX rst_digest_idx ON rs_manifest (digest)")
    table.executemany("INSERT INTO rs_manifest VALUES (?,?,?,?,?)", rows)


def without_links(table: sqlite3.Connection) -> None:
    table.execute("UPDATE ft_inode SET links_count = NULL")


def plain_contents(stage: tuple[dict[int, list[Any]], dict[bytes, bytes]]) -> None:
    rows, leaves = stage
    for number, content in ((10, b"".join(forge.MEMBERS)), (11, forge.TEXT)):
        del leaves[rows[number][1]]
        leaf = plain_frame(content, with_size=True)
        rows[number][1:3] = sha256(leaf), len(leaf)
        leaves[sha256(leaf)] = leaf


def with_old_sys_config(descriptor: dict[str, Any]) -> None:
    descriptor["mediaType"] = f"{forge.OTA}.config.v1+yaml"


def pem_token(token: bytes) -> bytes:
    claims = json.loads(base64.urlsafe_b64decode(token.split(b".")[1] + b"=="))
    return pki.token(pki.header(x5c=[party.pem.decode() for party in (pki.signer(), pki.intermediate())]), claims)


TO_0_10: dict[str, Mutation] = {"resource_table": early_resource_table, "file_table": without_links}
FRAMES: dict[str, Mutation] = {"resource_table_frame": reframed, "file_table_frame": reframed}
CASES: dict[str, dict[str, Mutation]] = {
    "0.10": TO_0_10,
    "0.9": {
        **TO_0_10,
        **FRAMES,
        "resources": plain_contents,
        "sys_config_descriptor": with_old_sys_config,
    },
    "no links": {"file_table": without_links},
    "not unique": {"resource_table": early_resource_table},
    "frames of tables": FRAMES,
    "frames of contents": {"resources": plain_contents},
}
