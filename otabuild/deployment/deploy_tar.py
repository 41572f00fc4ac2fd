"""Deployment of a payload as a tar: exact metadata without root (section 11).

The archive is POSIX pax with attributes as GNU tar, bsdtar and star write them (SCHILY.xattr). All
sizes are known in advance, and so is the whole layout: headers are written first, then contents go
to their places in any order.
"""

from __future__ import annotations

import os
import stat
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from otabuild.deployment.contents import Contents, Fill, Transfer
from otabuild.deployment.deploy_checks import Deployed, check_deployable
from otabuild.deployment.kept_blobs import KeptBlobs, keeping
from otabuild.deployment.old_trees import OldTrees
from otabuild.deployment.tree_plan import TreePlan
from otabuild.errors import StateError
from otabuild.image.image import Payload
from otabuild.image.tables import FileEntry
from otabuild.signing.trust import TrustPolicy
from otabuild.storage import fs, publishing, staging
from otabuild.storage.fs import StrPath
from otabuild.tally import Progress, Tally

_BLOCK, _RECORD = 512, 10_240
_TYPES = {stat.S_IFREG: b"0", stat.S_IFLNK: b"2", stat.S_IFCHR: b"3", stat.S_IFDIR: b"5"}
_HARD_LINK, _PAX = b"1", b"x"
_OCTAL_7, _OCTAL_11 = 0o7777777, 0o77777777777


def deploy_tar(
    payload: Payload,
    target: StrPath,
    policy: TrustPolicy | None,
    now: int,
    *,
    insecure_no_verify: bool = False,
    no_owner: bool = False,
    reuse: OldTrees | None = None,
    progress: Progress | None = None,
) -> Deployed:
    """Write a payload as a tar file; arguments and checks are those of `deploy`.

    Unpack it as root with `tar --xattrs --xattrs-include='*' -xpf`. The same payload always
    produces the same bytes. With `no_owner` everything belongs to 0:0.

    Raises:
        StateError: the target exists and is not a regular file, or is in the image.
        OtabuildError: as `deploy` does.
    """
    path = os.fspath(target)
    if os.path.lexists(path) and not os.path.isfile(path):
        raise StateError("the target is not a plain file", where=path)
    payload.image.source.check_apart(path)
    with keeping(payload.image, path) as kept:
        signer = check_deployable(
            payload, policy, now, insecure_no_verify=insecure_no_verify, reuse=reuse
        )
        plan = TreePlan(payload.file_table)
        demands = plan.demands()
        payload.image.blobs.budget.check_size(demands.content_size, payload.name)
        with publishing.replacing(path, durable=True) as fd:
            staging.check_room(fd, demands.content_size, path)
            tar = _Tar(
                fd, path, payload, plan, Tally(demands.content_size, progress), no_owner=no_owner
            )
            transfer = tar.write(reuse, kept)
    return Deployed(path, payload.name, signer, demands.inodes, demands.content_size, transfer)


class _ContentPlace(NamedTuple):
    """Where the content of a file is in the tar, and how many bytes it has."""

    offset: int
    size: int


class _Offsets:
    """Where contents are in the tar: 16 bytes for each of the files, which may be millions.

    otabuild numbers inodes in path order, so their numbers ascend here. Files of which that is not
    true are kept by path.
    """

    def __init__(self) -> None:
        self._inodes, self._places = array("q"), array("q")
        self._others: dict[str, int] = {}

    def add(self, entry: FileEntry, offset: int) -> None:
        """Add the first path of a file; paths come in order."""
        if self._inodes and entry.inode_id <= self._inodes[-1]:
            self._others[entry.path] = offset
        else:
            self._inodes.append(entry.inode_id)
            self._places.append(offset)

    def of(self, entry: FileEntry) -> int:
        """Return the offset of the content of a file; the entry is its first path."""
        other = self._others.get(entry.path)
        return self._places[bisect_left(self._inodes, entry.inode_id)] if other is None else other


class _Tar:
    def __init__(
        self,
        fd: int,
        name: str,
        payload: Payload,
        plan: TreePlan,
        tally: Tally,
        *,
        no_owner: bool,
    ) -> None:
        self._fd = fd
        self._name = name
        self._payload = payload
        self._plan = plan
        self._tally = tally
        self._no_owner = no_owner
        self._offsets = _Offsets()
        self._first_paths: dict[int, str] = {}

    def write(self, reuse: OldTrees | None, kept: KeptBlobs | None) -> Transfer | None:
        offset = 0
        for entry in self._payload.entries():
            offset = self._write_entry(entry, offset)
        end = -(-(offset + 2 * _BLOCK) // _RECORD) * _RECORD
        with fs.change("truncate", self._name):
            os.ftruncate(self._fd, end)
        contents = Contents(
            self._payload, self._places_of, self._all_places, self._write_content, reuse, kept
        )
        transfer = contents.write_all()
        self._tally.check_complete(self._name)
        return transfer

    def _write_entry(self, entry: FileEntry, offset: int) -> int:
        """Write the header of an entry, and its content if inlined; return where the next is."""
        link = self._first_paths.get(entry.inode_id)
        # Without links_count, each path is a file of its own, as clients write it (section 12).
        if link is None and entry.links_count is not None:
            self._first_paths[entry.inode_id] = entry.path
        if self._no_owner:
            entry = entry._replace(uid=0, gid=0)
        header = _header(entry, link)
        inlined = (entry.contents or b"") if link is None else b""
        fs.pwrite(self._fd, header + inlined, offset, self._name)
        if inlined:
            self._tally.add(len(inlined))
        offset += len(header)
        if link is not None:
            return offset
        if entry.digest is not None and entry.contents is None:
            self._offsets.add(entry, offset)
        return offset + -(-entry.size // _BLOCK) * _BLOCK

    def _places_of(self, digest: bytes) -> list[_ContentPlace]:
        return self._placed(self._plan.with_content(digest))

    def _all_places(self) -> Iterator[tuple[bytes, list[_ContentPlace]]]:
        return ((digest, self._placed(files)) for digest, files in self._plan.contents())

    def _placed(self, files: list[list[FileEntry]]) -> list[_ContentPlace]:
        return [_ContentPlace(self._offsets.of(paths[0]), paths[0].size) for paths in files]

    def _write_content(self, place: _ContentPlace, fill: Fill) -> bool:
        is_there = fill(self._fd, place.offset, self._name)
        if is_there:
            self._tally.add(place.size)
        return is_there


def _header(entry: FileEntry, link: str | None) -> bytes:
    """Return the header blocks of an entry; `link` is the path of the file if it is a hard link."""
    kind = _HARD_LINK if link is not None else _TYPES[stat.S_IFMT(entry.mode)]
    name = f".{entry.path}" if entry.path != "/" else "./"
    name = name + "/" if kind == b"5" and not name.endswith("/") else name
    target = f".{link}".encode() if link is not None else entry.meta or b""
    size = entry.size if kind == b"0" else 0
    # What does not fit into a field of the header goes into a record in front of it, which wins.
    records = dict(_pax_records(entry if link is None else None, name.encode(), target, size))
    if not (entry.uid <= _OCTAL_7 and entry.gid <= _OCTAL_7):
        records |= {"uid": b"%d" % entry.uid, "gid": b"%d" % entry.gid}
    body = b"".join(_record(key, value) for key, value in sorted(records.items()))
    plain = _ustar(kind, name.encode(), target, size, entry.mode, entry.uid, entry.gid)
    if not body:
        return plain
    return _ustar(_PAX, b"././@PaxHeader", b"", len(body), 0o644, 0, 0) + _padded(body) + plain


def _pax_records(
    entry: FileEntry | None, name: bytes, target: bytes, size: int
) -> Iterator[tuple[str, bytes]]:
    if len(name) > 100 or not name.isascii():
        yield "path", name
    if len(target) > 100 or not target.isascii():
        yield "linkpath", target
    if size > _OCTAL_11:
        yield "size", b"%d" % size
    for attribute, value in entry.xattrs.items() if entry is not None else ():
        yield f"SCHILY.xattr.{attribute.replace('%', '%25').replace('=', '%3D')}", value


def _record(key: str, value: bytes) -> bytes:
    """Return `length key=value`; the length includes its own digits."""
    body = b" %s=%s\n" % (key.encode(), value)
    length = len(body) + len(str(len(body)))
    # The digits may have become one more.
    length = len(body) + len(str(length))
    return b"%d%s" % (length, body)


def _ustar(  # noqa: PLR0917 the fields of the header
    kind: bytes, name: bytes, target: bytes, size: int, mode: int, uid: int, gid: int
) -> bytes:
    uid, gid = (number if number <= _OCTAL_7 else 0 for number in (uid, gid))
    device = b"0000000\0" * 2 if kind == b"3" else bytes(16)
    fields = (
        name[:100].ljust(100, b"\0"),
        b"%07o\0%07o\0%07o\0" % (stat.S_IMODE(mode), uid, gid),
        b"%011o\0%011o\0" % (size if size <= _OCTAL_11 else 0, 0),
        b" " * 8,
        kind,
        target[:100].ljust(100, b"\0"),
        b"ustar\00000",
        bytes(64),
        device,
    )
    block = b"".join(fields).ljust(_BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _BLOCK)
