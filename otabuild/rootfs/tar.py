"""The members of a tar archive: reads ustar, GNU and pax headers from start to end.

Nothing is trusted: names and attributes are bytes, every number is bounded, and anything that two
programs could read differently (a hard link with a body, an unknown type) is refused.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from otabuild.errors import InputError
from otabuild.format import limits
from otabuild.format.file_table import ACL, DEFAULT_ACL
from otabuild.rootfs import acl_text, tar_sparse
from otabuild.rootfs.reader import Reader
from otabuild.rootfs.tar_fields import decimal, number, pax_records, text

BLOCK = 512
_HEADER_MAX = 4 * limits.MIB
"""Limit for a pax header or long name: all attributes of an inode are at most 1 MiB."""
_GLOBAL_MAX = 1000
_ZEROS = bytes(BLOCK)
_ACLS = {b"SCHILY.acl.access": ACL, b"SCHILY.acl.default": DEFAULT_ACL}
_REGULAR = b"0"
_GNU_MAGIC = b"ustar  \0"
_KINDS = {
    b"\0": b"0",
    b"0": b"0",
    b"7": b"0",
    b"S": b"0",
    b"1": b"1",
    b"2": b"2",
    b"3": b"3",
    b"4": b"4",
    b"5": b"5",
    b"D": b"5",
    b"6": b"6",
}


class TarMember(NamedTuple):
    """One member, as its headers describe it.

    `kind` is the type flag, one of `0` regular, `1` hard link, `2` symlink, `3` character device,
    `4` block device, `5` directory, `6` fifo. `offset` is the start of the body in the plain
    archive, `stored` the length of the body in bytes; `size` is the length of the content.
    `extents` has the (offset, length) pairs of a sparse file's data, else None. `archive` counts
    the concatenated archives before this one; `gnu` is whether GNU tar's own format is used.
    """

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    link: bytes
    device: tuple[int, int]
    xattrs: dict[str, bytes]
    offset: int
    stored: int
    size: int
    extents: list[tuple[int, int]] | None
    archive: int
    gnu: bool


def read_members(reader: Reader, *, layer: bool) -> Iterator[TarMember]:
    """Yield every member in archive order.

    Its body may be read from the reader before the next member is requested.

    Args:
        reader: the plain archive.
        layer: whether it is a layer of an image, whose digest shows that it is complete: the end
            mark may be missing, but nothing may follow it. Otherwise, other archives may follow.

    Raises:
        InputError: damaged, truncated, without an end mark, or with something unknown in it.
    """
    archive = 0
    ended = False
    records: dict[bytes, bytes] = {}
    if not reader.at_end():
        _check_kind(reader)
    while not reader.at_end():
        block = reader.read(BLOCK)
        if block == _ZEROS:
            if layer:
                _check_end(reader)
                return
            # However many blocks of zeros there are, they end one archive.
            archive, records = archive + (not ended), {}
            ended = True
            continue
        ended = False
        member = _member(reader, block, records, archive)
        if member is not None:
            end = member.offset + member.stored
            yield member
            reader.skip(end - reader.position + -end % BLOCK)
    if not ended and not layer:
        raise InputError(
            "the archive is cut off: it has no end mark",
            where=reader.where,
            hint="copy or make the archive again",
        )


def _check_kind(reader: Reader) -> None:
    """Refuse input that is no tar archive at all, which is another error than damage."""
    head = reader.head(BLOCK)
    checksum = head[148:156].strip(b"\0 ").lstrip(b"0")
    if (
        head != _ZEROS
        and head[257:262] != b"ustar"
        and (
            len(head) < BLOCK
            or checksum not in {b"%o" % due for due in _checksums(head) if due >= 0}
        )
    ):
        raise InputError(
            "not a tar archive",
            where=reader.where,
            observed=f"begins with {head[:16]!r}",
            expected="plain, gzip, xz, bzip2 or zstd",
        )


def _check_end(reader: Reader) -> None:
    """Refuse data after the end that no other program would read."""
    if any(part.strip(b"\0") for part in reader.rest()):
        raise InputError(
            "the layer continues after its end mark",
            where=reader.where,
            hint="build the image again: a layer is one tar archive, not several joined ones",
        )


def _member(
    reader: Reader, block: bytes, common: dict[bytes, bytes], archive: int
) -> TarMember | None:
    """Read the member of a header block, and all its headers; None if only headers follow."""
    own: list[tuple[bytes, bytes]] = []
    names: dict[bytes, bytes] = {}
    while (flag := _flag(block, reader.where)) in b"xgLKV":
        body = _body(reader, block)
        if flag == b"x":
            own = pax_records(body, reader.where)
        elif flag == b"g":
            common |= dict(pax_records(body, reader.where))
            if len(common) > _GLOBAL_MAX or sum(map(len, common.values())) > _HEADER_MAX:
                raise InputError("the archive has too many global records", where=reader.where)
        elif flag in b"LK":
            names[b"path" if flag == b"L" else b"linkpath"] = body.split(b"\0")[0]
        # These two may be the last in an archive; what describes a member may not.
        if flag in b"gV" and not own and not names:
            return None
        block = reader.read(BLOCK)
    return _assemble(reader, block, flag, [*common.items(), *names.items(), *own], archive)


def _assemble(
    reader: Reader, block: bytes, flag: bytes, pairs: list[tuple[bytes, bytes]], archive: int
) -> TarMember:
    # One thing may be told in several places. A pax record wins over the field of the header, as
    # POSIX says, and the name in the records of a sparse file over both: the other one is for old
    # programs, which unpack the map as if it were a file.
    where = reader.where
    records = dict(pairs)
    name = records.get(b"path") or _header_name(block)
    size = _number(records.get(b"size"), block[124:136], where)
    kind = _KINDS.get(flag)
    # A hard link has no body, whatever its size says: so GNU tar, Python and Go. In a pax archive
    # bsdtar reads one.
    if kind is None or size > limits.FILE or (kind == b"1" and size and pairs):
        reason = f"is of the unknown type {flag!r}" if kind is None else "has an invalid size"
        raise InputError(
            f"a member of the archive {reason}", where=f"{where}: {text(name)}", observed=size
        )
    uid = _number(records.get(b"uid"), block[108:116], where)
    gid = _number(records.get(b"gid"), block[116:124], where)
    # What is kept of an archive has room for no more; the gate knows what the format allows.
    if max(uid, gid) >> 63:
        raise InputError(
            "a member of the archive has an invalid owner",
            where=f"{where}: {text(name)}",
            observed=f"{uid}:{gid}",
        )
    # Archives that are older than type 5 mark a directory so.
    if kind == _REGULAR and name.endswith(b"/"):
        kind = b"5"
    sparse = tar_sparse.find(reader, block, flag, pairs, size) if kind == _REGULAR else None
    if sparse is not None and sparse.name:
        name = sparse.name
    # A folder of GNU's incremental archives (D) has a body, and so may one by its name.
    stored = size if kind == _REGULAR or flag in b"\x000D" else 0
    return TarMember(
        name=name,
        kind=kind,
        mode=number(block[100:108], where) & 0o7777,
        uid=uid,
        gid=gid,
        link=records.get(b"linkpath") or block[157:257].split(b"\0")[0],
        device=(number(block[329:337], where), number(block[337:345], where))
        if kind in b"34"
        else (0, 0),
        xattrs=_xattrs(records, where),
        offset=reader.position,
        stored=stored if sparse is None else sparse.stored,
        size=stored if sparse is None else sparse.size,
        extents=None if sparse is None else sparse.extents,
        archive=archive,
        gnu=block[257:265] == _GNU_MAGIC,
    )


def _number(record: bytes | None, field: bytes, where: str) -> int:
    """Return the number of a pax record; without one, that of the field of the header."""
    return decimal(record, where) if record else number(field, where)


def _flag(block: bytes, where: str) -> bytes:
    """Return the type flag of a header, after checking its checksum."""
    due = number(block[148:156], where)
    if due not in _checksums(block):
        raise InputError("the archive is damaged: the checksum of a header is wrong", where=where)
    return block[156:157]


def _checksums(block: bytes) -> set[int]:
    """Return a header's sums: POSIX sums bytes as unsigned, old writers summed signed ones."""
    fields = block[:148] + block[156:]
    unsigned = sum(fields) + 8 * 0x20
    return {unsigned, unsigned - 256 * sum(byte > 0x7F for byte in fields)}


def _body(reader: Reader, block: bytes) -> bytes:
    size = number(block[124:136], reader.where)
    if size > _HEADER_MAX:
        raise InputError(
            "a header of the archive is too large", where=reader.where, observed=f"{size} bytes"
        )
    body = reader.read(size)
    reader.skip(-size % BLOCK)
    return body


def _header_name(block: bytes) -> bytes:
    name = block[:100].split(b"\0")[0]
    prefix = block[345:500].split(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _xattrs(records: dict[bytes, bytes], where: str) -> dict[str, bytes]:
    """Return extended attributes as GNU tar, star, bsdtar and container tools write them."""
    if not records:
        return {}
    found: dict[bytes, bytes] = {}
    encoded: dict[bytes, bytes] = {}
    for key, value in records.items():
        if key.startswith(b"SCHILY.xattr."):
            name = key.removeprefix(b"SCHILY.xattr.").replace(b"%3D", b"=").replace(b"%25", b"%")
            found[name] = value
        elif key.startswith(b"LIBARCHIVE.xattr."):
            encoded[unquote_to_bytes(key.removeprefix(b"LIBARCHIVE.xattr."))] = value
        elif key == b"RHT.security.selinux" and value:
            # The record has the text alone; the value that Linux stores ends in NUL.
            found[b"security.selinux"] = value + b"\0"
    # bsdtar writes an attribute in both ways: its Base64 counts only where the plain bytes are
    # missing.
    found |= {name: _base64(value, where) for name, value in encoded.items() if name not in found}
    too_long = any(
        len(name) > limits.XATTR_NAME or len(value) > limits.XATTR_VALUE
        for name, value in found.items()
    )
    if too_long or sum(map(len, found.values())) > limits.XATTRS:
        raise InputError(
            "a member of the archive has extended attributes that are too large",
            where=where,
            observed=", ".join(
                f"{text(name[:100])} of {len(value)} bytes" for name, value in found.items()
            )[:1000],
            expected=f"values of at most {limits.XATTR_VALUE} bytes, {limits.XATTRS} in all",
        )
    return _with_lists({text(name): value for name, value in found.items()}, records)


def _with_lists(xattrs: dict[str, bytes], records: dict[bytes, bytes]) -> dict[str, bytes]:
    """Add access control lists that are text alone; the exact list may stand beside it."""
    for record, name in _ACLS.items():
        value = records.get(record)
        if value and name not in xattrs:
            converted, packed = acl_text.attribute(name, value)
            if name == DEFAULT_ACL or not acl_text.is_trivial(packed):
                xattrs[converted] = packed
    return xattrs


def _base64(value: bytes, where: str) -> bytes:
    """Decode the output of bsdtar, which omits the padding."""
    try:
        return b64decode(value.rstrip(b"=") + b"=" * (-len(value.rstrip(b"=")) % 4), validate=True)
    except ValueError as error:
        raise InputError(
            "the archive is damaged: an attribute is not Base64", where=where, observed=error
        ) from error
