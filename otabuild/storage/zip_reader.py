"""Reads the artifact strictly: one ZIP of otabuild's own subset (section 1), or a ContainerError.

A ZIP stores most things twice, and readers differ in which copy they believe. Therefore both are
read and must agree: local headers walked from the first byte on, the central directory beside them,
and no byte of the file left over. Where each read is a request to a server, the local headers are
compared later, with the bytes behind them.
"""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, NoReturn

from otabuild.errors import ContainerError, LimitError
from otabuild.format import limits

# Not shared with zip_writer: a wrong constant there must not be accepted here as well.
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_MAGIC = b"PK\3\4"
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF

_DATE, _TIME = 0x3A21, 0  # 2009-01-01 00:00:00
_MADE_BY, _MADE_BY64 = 0x0314, 0x032D  # Unix; version 2.0, or 4.5 where CPython's writer uses ZIP64
_MADE_BY_END64 = (_MADE_BY, _MADE_BY64, 0x002D)  # CPython's writer names no system in this record
_NEEDED, _NEEDED64 = 20, 45
_UTF8, _FOLDER = 0x800, 0x10
_WIDE_EXTRA = 20  # bytes of the extra field with both sizes
# Up to here nobody needs ZIP64; above, CPython's writer, which the reference uses, writes it.
_NARROW = 0x7FFFFFFF

_NAME = re.compile(
    r"index\.json|index\.jwt|oci-layout|metadata\.jwt|certificate\.pem|blobs/(sha256/([0-9a-f]{64})?)?"
    r"|data/(opt/(ota/(otaclient_release/(?P<legacy>.+)?)?)?)?",
    re.DOTALL,
)


Read = Callable[[int, int], bytes]


class ZipEntry(NamedTuple):
    """A file of the artifact: `size` bytes starting at `offset`; `crc` is their CRC-32.

    The local header starts at `header` and ends at `offset`.
    """

    name: str
    header: int
    offset: int
    size: int
    crc: int
    mode: int


class _Record(NamedTuple):
    """A record of the central directory with ZIP64 resolved; `narrow` is its 32-bit size."""

    raw_name: bytes
    crc: int
    narrow: int
    size: int
    offset: int
    mode: int


def legal_name(name: str) -> bool:
    """Whether a file, or a folder (its name ends in `/`), belongs in an image."""
    found = _NAME.fullmatch(name)
    if found is None:
        return False
    legacy = found["legacy"]
    if legacy is None:
        return True
    parts = legacy.removesuffix("/").split("/")
    return legacy.isprintable() and "\\" not in legacy and not {"", ".", ".."}.intersection(parts)


def read_entries(read: Read, size: int) -> list[ZipEntry]:
    """Return every entry of the artifact of `size` bytes, with folders, in storage order.

    Args:
        read: returns at most so many bytes from an offset on; none only at the end.
        size: the bytes of the artifact.

    Raises:
        ContainerError: anything that two ZIP readers could see differently, or that is not in the
            format.
        LimitError: a central directory of more than 512 MiB.
    """
    return _read_entries(read, size, _read_local)


def read_directory(read: Read, size: int) -> list[ZipEntry]:
    """Return what `read_entries` does, but leave `check_local` to the caller.

    Nothing but the beginning and the end of the artifact is read.
    """
    return _read_entries(read, size, lambda _read, record, entry: _check_kind(record, entry))


def check_local(entry: ZipEntry, header: bytes) -> None:
    """Compare a local header with the only one that the central directory allows.

    Raises:
        ContainerError: they differ.
    """
    raw_name = entry.name.encode()
    wide = entry.offset - entry.header > _LOCAL.size + len(raw_name)
    narrow = _FULL32 if wide else entry.size
    extra = struct.pack("<2H2Q", 1, 16, entry.size, entry.size) if wide else b""
    needed, flags = (_NEEDED64 if wide else _NEEDED), (0 if raw_name.isascii() else _UTF8)
    fields = (needed, flags, 0, _TIME, _DATE, entry.crc, narrow, narrow, len(raw_name), len(extra))
    if header != _LOCAL.pack(_MAGIC, *fields) + raw_name + extra:
        _refuse("local header and central directory differ", entry.name)


def _read_entries(
    read: Read, size: int, check: Callable[[Read, _Record, ZipEntry], None]
) -> list[ZipEntry]:
    start, directory_size, count = _read_end(read, size)
    if directory_size > limits.ZIP_DIRECTORY:
        raise LimitError(
            "central directory too large", observed=directory_size, expected=limits.ZIP_DIRECTORY
        )
    directory = _pread(read, directory_size, start, "central directory")
    entries: list[ZipEntry] = []
    offset = 0
    for record in _records(directory, count):
        entry = _entry_of(record, offset)
        check(read, record, entry)
        offset = entry.offset + entry.size
        entries.append(entry)
    # With what `_read_end` checks, no byte of the file belongs to nothing (section 1).
    if offset != start:
        _refuse(
            "bytes between the last entry and the central directory",
            observed=start - offset,
            expected=0,
        )
    _check_names(entries)
    return entries


def _refuse(
    what: str, where: object = "", *, observed: object = None, expected: object = None
) -> NoReturn:
    raise ContainerError(
        f"not an OTA image: {what}", where=where, observed=observed, expected=expected
    )


def _pread(read: Read, length: int, offset: int, where: str) -> bytes:
    parts: list[bytes] = []
    while length > 0:
        part = read(length, offset)
        if not part:
            _refuse("the file ends too early", where, observed=f"end at {offset}")
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return b"".join(parts)


def _read_end(read: Read, size: int) -> tuple[int, int, int]:
    """Return the start of the central directory, its size in bytes and its number of records."""
    head = _pread(read, min(size, len(_MAGIC)), 0, "beginning")
    if head != _MAGIC:
        _refuse(
            "it does not begin like a ZIP",
            observed=f"{head!r} in {size} bytes",
            expected=repr(_MAGIC),
        )
    # A comment is not allowed, so the end record has one place: nobody can be shown another one.
    at = size - _END.size
    end = _pread(read, _END.size, at, "end record") if at > 0 else bytes(_END.size)
    magic, disk, first_disk, here, count, length, start, comment = _END.unpack(end)
    if magic != b"PK\5\6" or comment:
        raise ContainerError(
            "not a complete OTA image: the ZIP's end record is missing, or not at the end",
            observed=f"{size} bytes",
            hint="the file is probably truncated; download it again and compare its SHA-256",
        )
    if (disk, first_disk) != (0, 0) or here != count:
        _refuse("a ZIP of several disks")
    wide = _read_end64(read, at)
    if wide is not None:
        _check_narrow((count, length, start), wide[:3])
        count, length, start, at = wide
        if count < _FULL16 and max(length, start) <= _NARROW:
            _refuse("a ZIP64 end record that is not needed")
    if start + length != at:
        _refuse(
            "the central directory does not end where the end record starts",
            observed=start + length,
            expected=at,
        )
    return start, length, count


def _check_narrow(narrow_fields: tuple[int, int, int], true_values: tuple[int, int, int]) -> None:
    """Check the end record against the ZIP64 one.

    A field is either right or full. Some readers use the ZIP64 value only where the field is full,
    others always: where both readings give the same, nobody can be shown another directory.
    """
    names = ("number of entries", "directory size", "directory offset")
    for name, narrow, full, true in zip(
        names, narrow_fields, (_FULL16, _FULL32, _FULL32), true_values, strict=True
    ):
        if narrow not in (true, full) or (true > full and narrow != full):
            _refuse(
                f"end record and ZIP64 end record differ in the {name}",
                observed=narrow,
                expected=true,
            )


def _read_end64(read: Read, end: int) -> tuple[int, int, int, int] | None:
    """Return count, size and start of the directory, and of the ZIP64 end record, or None."""
    at = end - _LOCATOR.size - _END64.size
    if at < 0:
        return None
    raw = _pread(read, _END64.size + _LOCATOR.size, at, "ZIP64 end record")
    locator, disk_of_end, place_of_end, disks = _LOCATOR.unpack(raw[_END64.size :])
    if locator != b"PK\6\7":
        return None
    magic, length, made_by, needed, disk, first_disk, here, count, size, start = _END64.unpack(
        raw[: _END64.size]
    )
    if (
        (disk_of_end, place_of_end, disks) != (0, at, 1)
        or magic != b"PK\6\6"
        or length != _END64.size - 12
    ):
        _refuse("the ZIP64 locator does not point at a plain ZIP64 end record right before it")
    if (
        (disk, first_disk) != (0, 0)
        or here != count
        or made_by not in _MADE_BY_END64
        or needed != _NEEDED64
    ):
        _refuse("the ZIP64 end record is not that of a one-disk Unix ZIP")
    return count, size, start, at


def _records(directory: bytes, count: int) -> Iterator[_Record]:
    at = 0
    for number in range(count):
        if at + _CENTRAL.size > len(directory):
            _refuse(
                "the central directory contains fewer records than the end record says",
                observed=number,
            )
        (
            magic, made_by, needed, flags, method, time, date, crc, stored, size,
            name_size, extra_size, comment_size, disk, internal, external, offset,
        ) = _CENTRAL.unpack_from(directory, at)  # fmt: skip
        name_at = at + _CENTRAL.size
        extra_at = name_at + name_size
        at = extra_at + extra_size
        name, extra = directory[name_at:extra_at], directory[extra_at:at]
        where = name.decode("utf-8", "replace")[:200] or f"record {number}"
        if magic != b"PK\1\2" or at > len(directory):
            _refuse("not a record of the central directory", where)
        _check_constants(where, name, flags, (needed, method, time, date), extra)
        if (
            made_by not in (_MADE_BY, _MADE_BY64 if extra else _MADE_BY)
            or comment_size
            or disk
            or internal
            or external & 0xFFFF != (_FOLDER if name[-1:] == b"/" else 0)
        ):
            _refuse(
                "a record that is not made on Unix, or with a comment, disk number "
                "or other DOS attributes",
                where,
            )
        true_stored, true_size, offset = _widen(where, extra, stored, size, offset)
        if (stored, true_stored) != (size, true_size):
            _refuse("stored size and size differ", where, observed=true_stored, expected=true_size)
        yield _Record(name, crc, size, true_size, offset, external >> 16)
    if at != len(directory):
        _refuse(
            "bytes in the central directory after its last record", observed=len(directory) - at
        )


def _check_constants(
    where: str, name: bytes, flags: int, fields: tuple[int, int, int, int], extra: bytes
) -> None:
    needed, method, time, date = fields
    if method != 0:
        _refuse("the entry is not STORED", where, observed=f"method {method}", expected="method 0")
    if flags != (0 if name.isascii() else _UTF8):
        _refuse(
            "flags (encryption, data descriptor or others) are not allowed here",
            where,
            observed=hex(flags),
        )
    if needed != (_NEEDED64 if extra else _NEEDED) or (time, date) != (_TIME, _DATE):
        _refuse("version needed, date or time differ from the format's constants", where)


def _widen(where: str, extra: bytes, *fields: int) -> tuple[int, ...]:
    """Replace saturated fields by ZIP64 values; the extra field must contain exactly these."""
    if not extra and _FULL32 not in fields:
        return fields  # nearly every entry: not worth more time
    saturated = sum(field == _FULL32 for field in fields)
    expected = 4 + 8 * saturated if saturated else 0
    if len(extra) != expected or (extra and struct.unpack_from("<2H", extra) != (1, 8 * saturated)):
        _refuse(
            "extra field: only ZIP64 sizes are allowed, where they are needed",
            where,
            observed=extra[:40].hex(),
        )
    wide = struct.unpack_from(f"<{saturated}Q", extra, 4) if saturated else ()
    if any(value <= _NARROW for value in wide):
        _refuse("a ZIP64 value that is not needed", where, observed=wide)
    values = iter(wide)
    return tuple(next(values) if field == _FULL32 else field for field in fields)


def _entry_of(record: _Record, expected_offset: int) -> ZipEntry:
    name = _decode(record.raw_name)
    if record.offset != expected_offset:
        _refuse(
            "gap or overlap before the entry",
            name,
            observed=record.offset,
            expected=expected_offset,
        )
    wide = _WIDE_EXTRA if record.narrow == _FULL32 else 0
    offset = expected_offset + _LOCAL.size + len(record.raw_name) + wide
    return ZipEntry(name, expected_offset, offset, record.size, record.crc, record.mode)


def _read_local(read: Read, record: _Record, entry: ZipEntry) -> None:
    where = entry.name
    header_size = _LOCAL.size + len(record.raw_name)
    raw = _pread(read, header_size, entry.header, where)
    magic, needed, flags, method, time, date, crc, stored, size, name_size, extra_size = (
        _LOCAL.unpack_from(raw)
    )
    if (
        magic != b"PK\3\4"
        or name_size != len(record.raw_name)
        or raw[_LOCAL.size :] != record.raw_name
    ):
        _refuse("local header and central directory differ in the name", where)
    if extra_size > _WIDE_EXTRA:
        _refuse("extra field: only ZIP64 sizes are allowed, where they are needed", where)
    extra = _pread(read, extra_size, entry.header + header_size, where)
    _check_constants(where, record.raw_name, flags, (needed, method, time, date), extra)
    if (stored, size, crc) != (record.narrow, record.narrow, record.crc):
        _refuse("local header and central directory differ in size or CRC", where)
    if _widen(where, extra, stored, size) != (record.size, record.size):
        _refuse("local header and central directory differ in the ZIP64 size", where)
    _check_kind(record, entry)


def _check_kind(record: _Record, entry: ZipEntry) -> None:
    kind = stat.S_IFDIR if entry.name.endswith("/") else stat.S_IFREG
    if stat.S_IFMT(record.mode) != kind or (kind == stat.S_IFDIR and (record.size or record.crc)):
        _refuse(
            "the entry is neither a plain file nor an empty folder",
            entry.name,
            observed=oct(record.mode),
        )


def _decode(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        _refuse("the entry's name is not UTF-8", repr(raw[:200]))
    if not legal_name(name):
        _refuse("the entry does not belong in an image", name[:200])
    return name


def _check_names(entries: list[ZipEntry]) -> None:
    folded: dict[str, str] = {}
    for entry in entries:
        # Names that are equal under case folding are one name (section 1), and a file and a folder
        # of one name are one place.
        key = entry.name.casefold().removesuffix("/")
        if key in folded:
            what = "two entries share a name (names equal but for case count as one)"
            _refuse(what, entry.name, observed=folded[key])
        folded[key] = entry.name
    folders = {entry.name for entry in entries if entry.name.endswith("/")}
    for entry in entries:
        parent = entry.name.removesuffix("/").rpartition("/")[0]
        if parent and f"{parent}/" not in folders:
            _refuse(
                "the folder of the entry has no entry of its own", entry.name, expected=f"{parent}/"
            )
