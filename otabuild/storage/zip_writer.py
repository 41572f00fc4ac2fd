"""Writes the artifact: one ZIP; names and contents determine every byte of it (section 1).

All sizes, and therefore the whole layout, are known before the first byte is written. Several
threads copy blobs to their places, and each blob is hashed on the way.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from otabuild.storage import fs, publishing, staging
from otabuild.storage.member import Member, arrange, member_chunks

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")
_MADE_BY, _NEEDED, _NEEDED64 = 0x0314, 20, 45
_DATE, _TIME = 0x3A21, 0
_UTF8 = 0x800
_FILE_ATTRIBUTES = 0o100644 << 16
_FOLDER_ATTRIBUTES = 0o40755 << 16 | 0x10
_LIMIT32, _LIMIT16 = 0xFFFFFFFF, 0xFFFF
_BATCH = 64
"""Members that a thread takes at a time: handing over small ones individually would cost more than
copying them."""


@dataclass(slots=True)
class _Placed:
    member: Member
    offset: int
    crc: int = 0


def write_artifact(
    path: str,
    members: Sequence[Member],
    *,
    workers: int,
    progress: Callable[[int], None] = lambda _size: None,
) -> str:
    """Write the members, in the format's order, to an artifact that appears when complete.

    Arguments are those of `Sink.write`; an artifact that is there already is replaced.

    Returns:
        The SHA-256 of the artifact, as hex.

    Raises:
        DamagedBlobError: the content of a file does not match its digest.
        StorageError: writing failed; the previous file under `path` still exists.
    """
    placed, end = _place(arrange(members))
    with publishing.replacing(path, durable=True) as fd:
        staging.check_room(fd, end, path)
        if end:
            with fs.change("reserve", path):
                os.posix_fallocate(fd, 0, end)

        _copy_members(fd, placed, path, workers, progress)
        directory = b"".join(map(_central_header, placed))
        fs.pwrite(fd, directory + _end_records(len(placed), len(directory), end), end, path)
        with ThreadPoolExecutor(1) as pool:  # the disk is busy while the processor is
            flushed = pool.submit(fs.sync_file_system, fd, path)
            sha256 = _hash_file(fd, path)
            flushed.result()
        return sha256


def _place(members: Sequence[Member]) -> tuple[list[_Placed], int]:
    offset, placed = 0, []
    for member in members:
        placed.append(_Placed(member, offset))
        offset += len(_local_header(placed[-1])) + member.size
    return placed, offset


def _copy_members(
    fd: int, placed: Sequence[_Placed], path: str, workers: int, progress: Callable[[int], None]
) -> None:
    stop = threading.Event()

    def copy(some: Sequence[_Placed]) -> None:
        for entry in some:
            _copy_member(fd, entry, path, stop)
            if stop.is_set():
                return
            progress(entry.member.size)
        fs.start_writing_out(
            fd, some[0].offset, some[-1].offset + some[-1].member.size - some[0].offset
        )

    with ThreadPoolExecutor(workers) as pool:
        try:
            parts = [placed[start : start + _BATCH] for start in range(0, len(placed), _BATCH)]
            for _done in pool.map(copy, parts):
                pass
        except BaseException:  # an interrupted process must not wait for the remaining work either
            stop.set()
            raise


def _copy_member(fd: int, entry: _Placed, path: str, stop: threading.Event) -> None:
    """Write header and content to their place.

    The header needs the CRC: it is written with a single chunk or last.
    """
    at = entry.offset + len(_local_header(entry))
    whole = b""
    for chunk in member_chunks(entry.member):
        if stop.is_set():
            return
        entry.crc = zlib.crc32(chunk, entry.crc)
        if len(chunk) == entry.member.size:
            whole = chunk
        else:
            fs.pwrite(fd, chunk, at, path)
            at += len(chunk)
    fs.pwrite(fd, _local_header(entry) + whole, entry.offset, path)


def _local_header(entry: _Placed) -> bytes:
    name, size = entry.member.name.encode(), entry.member.size
    big = size >= _LIMIT32
    extra = struct.pack("<2H2Q", 1, 16, size, size) if big else b""
    short = min(size, _LIMIT32)
    needed = _NEEDED64 if big else _NEEDED
    fields = (needed, _flags(name), 0, _TIME, _DATE, entry.crc, short, short, len(name), len(extra))
    return _LOCAL.pack(b"PK\x03\x04", *fields) + name + extra


def _central_header(entry: _Placed) -> bytes:
    name, size = entry.member.name.encode(), entry.member.size
    far = b""
    if size >= _LIMIT32:
        far += struct.pack("<2Q", size, size)
    if entry.offset >= _LIMIT32:
        far += struct.pack("<Q", entry.offset)
    extra = struct.pack("<2H", 1, len(far)) + far if far else b""
    short = min(size, _LIMIT32)
    attributes = _FOLDER_ATTRIBUTES if entry.member.name.endswith("/") else _FILE_ATTRIBUTES
    needed = _NEEDED64 if far else _NEEDED
    fields = (_MADE_BY, needed, _flags(name), 0, _TIME, _DATE)
    sizes = (entry.crc, short, short, len(name), len(extra))
    tail = (0, 0, 0, attributes, min(entry.offset, _LIMIT32))
    return _CENTRAL.pack(b"PK\x01\x02", *fields, *sizes, *tail) + name + extra


def _flags(name: bytes) -> int:
    return 0 if name.isascii() else _UTF8


def _end_records(count: int, size: int, start: int) -> bytes:
    short = min(count, _LIMIT16)
    end = _END.pack(b"PK\x05\x06", 0, 0, short, short, min(size, _LIMIT32), min(start, _LIMIT32), 0)
    if count < _LIMIT16 and start < _LIMIT32 and size < _LIMIT32:
        return end
    record = _END64.pack(b"PK\x06\x06", 44, _MADE_BY, _NEEDED64, 0, 0, count, count, size, start)
    return record + _LOCATOR64.pack(b"PK\x06\x07", 0, start + size, 1) + end


def _hash_file(fd: int, path: str) -> str:
    try:
        with open(fd, "rb", closefd=False) as file:
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise fs.storage_error(error, "read", path) from error
