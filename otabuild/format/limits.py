"""Limits on what is read from an image; larger input is refused. Sizes are in bytes."""

from __future__ import annotations

from otabuild.errors import LimitError

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

TIME = 253_402_300_799
"""The last second of the year 9999 in Unix seconds, the end of the range of calendars."""
JWT = 64 * KIB
INDEX = 8 * MIB
ZIP_DIRECTORY = 512 * MIB
DOCUMENT = MIB
"""A manifest, image config or sys_config."""
RECIPE = 16 * MIB
JSON_DEPTH = 32
ENTRIES = 4096
"""Payloads of an index, layers of a manifest, packages of a release."""
YAML_NODES = 250_000
"""Values of a YAML document, with every alias written out: 10,000 payloads, or a list of as many
lines as fit."""
YAML_SCALAR = 200
"""Maximum number of characters in a value that is not text."""
CERTIFICATES = 6
CERTIFICATE = 16 * KIB

TABLE = 4 * GIB
TABLE_RATIO = 400
"""A table may decompress to the larger of 16 MiB and this many times its stored size."""
PATH = 4095
NAME = 255
SYMLINK_TARGET = 4095
XATTR_NAME = 255
XATTR_VALUE = 64 * KIB
XATTRS = MIB
"""All extended attributes of one inode, packed."""
OWNER = 2**32 - 2
"""The largest uid or gid. chown reads 2^32-1 as "do not change"."""
MODE = 0xFFFF
"""The largest st_mode."""

INLINE = 64
"""Contents of 1 to this many bytes are inlined in the file table."""
LEAF = 32 * MIB
"""The largest blob that we write; readers accept any size."""
FILTER_OPTIONS = MIB
FILTER_DEPTH = 4
SLICES = 65_536
BUNDLE = 64 * MIB
FILE = 16 << 40
REBUILT = 1 << 40
"""What one command reads and makes at most to rebuild contents, unless it is allowed more."""
ZSTD_WINDOW_LOG = 27


def check_length(raw: bytes, limit: int, what: str, where: str) -> None:
    """Check the length of `what` in bytes before it is parsed.

    Raises:
        LimitError: it is over the limit.
    """
    if len(raw) > limit:
        raise LimitError(
            f"{what} too large",
            where=where,
            observed=f"{len(raw)} bytes",
            expected=f"at most {limit}",
        )
