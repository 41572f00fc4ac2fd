"""An image for each rule that only notes: valid, unless notes count as errors."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from typing import Any

import msgpack

from tests.image import forge
from tests.image.forge import Mutation
from tests.image.packages import with_package
from tests.image.zip_forge import Entry
from tests.rootfs.trees import acl
from tests.verification.tampering import constant, put, sql


def _swapped(entries: list[Entry]) -> None:
    entries[2], entries[3] = entries[3], entries[2]


def _executable(entries: list[Entry]) -> None:
    entries[0].central["external"] = (stat.S_IFREG | 0o755) << 16


def _unused_resource(stage: tuple[dict[int, list[Any]], dict[bytes, bytes]]) -> None:
    stage[0][60] = [60, forge.sha256(b"unused"), 6, None, None]
    stage[1][forge.sha256(b"unused")] = b"unused"


_XATTRS = msgpack.packb({"system.posix_acl_access": acl((0x01, 6), (0x02, 7), (0x04, 0), (0x10, 7), (0x20, 4))})
NOTES: Mapping[str, Mapping[str, Mutation]] = {
    "container.order": {"zip": _swapped},
    "container.mode": {"zip": _executable},
    "manifest.artifact-type": {"manifest": put("artifactType", ...)},
    "otaclient.artifact-type": with_package(manifest=lambda value: value.pop("artifactType")),
    "config.architecture": {"config": put("architecture", "arm64")},
    "sys-config.oddities": {"sys_config": constant(b"hostname: a b\n")},
    "table.links-more": {"file_table": sql("UPDATE ft_inode SET links_count = 9 WHERE inode_id = 14")},
    "table.acl": {"file_table": sql(("UPDATE ft_inode SET xattrs = ? WHERE inode_id = 12", (_XATTRS,)))},
    "table.orphan-inode": {"file_table": sql("INSERT INTO ft_inode VALUES (99, 0, 0, 33188, NULL, NULL)")},
    "table.orphan-resource": {
        "file_table": sql(
            ("INSERT INTO ft_resource VALUES (99, ?, 6, ?)", (forge.sha256(b"unused"), b"unused")),
        )
    },
    "table.case": {
        "file_table": sql(
            "INSERT INTO ft_inode VALUES (99, 0, 0, 33188, NULL, NULL)",
            "INSERT INTO ft_regular VALUES ('/etc/A', 99, 1)",
        )
    },
    "resources.orphan": {"resources": _unused_resource},
}
