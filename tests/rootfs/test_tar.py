from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from otabuild.errors import InputChangedError, InputError, InputUnreadableError, OtabuildError
from otabuild.rootfs import tar_source
from otabuild.rootfs.archive_index import ArchiveIndex
from otabuild.rootfs.content import load_content
from otabuild.rootfs.entry import Entry
from otabuild.rootfs.inputs import DirectoryInput, TarInput
from otabuild.rootfs.scan import RootfsOptions, scan
from otabuild.rootfs.stream import DamagedEntriesError, write_entries
from otabuild.rootfs.tar_source import TarSource
from tests.rootfs.tars import END, header, member, octal, padded, pax
from tests.rootfs.trees import make_tree, nasty_tree, paths, regular

needs_tar = pytest.mark.skipif(not shutil.which("tar"), reason="needs GNU tar")


def read(tmp_path: Path, data: bytes) -> dict[str, Entry]:
    (tmp_path / "a.tar").write_bytes(data)
    return {entry.path: entry for entry in TarSource(str(tmp_path / "a.tar"), str(tmp_path / "work")).entries()}


def contents(entries: dict[str, Entry]) -> dict[str, bytes]:
    return {path: load_content(entry.content) for path, entry in entries.items() if entry.content is not None}


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "gzip members": lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]),
    "bzip2": bz2.compress,
    "bzip2 streams": lambda data: bz2.compress(data[:700]) + bz2.compress(data[700:]),
    "xz": lzma.compress,
    "xz padded": lambda data: lzma.compress(data[:700]) + bytes(8) + lzma.compress(data[700:]),
    "zstd": zstd,
    "zstd frames": lambda data: zstd(data[:700]) + b"\x50\x2a\x4d\x18\x03\0\0\0abc" + zstd(data[700:]),
    "zstd with a frame to skip in front": lambda data: b"\x5f\x2a\x4d\x18\x03\0\0\0abc" + zstd(data),
    "zstd without size": lambda data: b"".join((c := zstandard.ZstdCompressor().compressobj(), c.compress(data), c.flush())[1:]),
}  # fmt: skip


@pytest.mark.parametrize("packing", PACKED)
def test_every_compression_gives_the_same_tree(tmp_path: Path, packing: str) -> None:
    big = os.urandom(3 << 20) + bytes(3 << 20)
    plain = member(b"./", kind=b"5") + member(b"./big", big) + member(b"./small", b"small") + END
    found = read(tmp_path, PACKED[packing](plain))
    assert contents(found) == {"/big": big, "/small": b"small"}


@pytest.mark.parametrize("packing", PACKED)
def test_b11_an_archive_cut_anywhere_is_refused(tmp_path: Path, packing: str) -> None:
    whole = PACKED[packing](member(b"a", os.urandom(600)) + member(b"b", b"2") + END)
    for size in range(0, len(whole) - (2 * 512 if packing == "plain" else 1), 13):
        with pytest.raises(InputError):
            read(tmp_path, whole[:size])
    assert sorted(read(tmp_path, whole)) == ["/", "/a", "/b"]


@pytest.mark.parametrize("packing", ["gzip", "bzip2", "xz", "zstd"])
def test_b11_bytes_behind_the_archive_are_refused(tmp_path: Path, packing: str) -> None:
    whole = member(b"a", b"1") + END
    for spoilt in PACKED[packing](whole) + b"junk", PACKED[packing](whole + b"junk" * 200):
        with pytest.raises(InputError):
            read(tmp_path, spoilt)


@needs_tar
@pytest.mark.parametrize("form", ["posix", "gnu"])
def test_a_tree_by_gnu_tar_is_the_tree(tmp_path: Path, form: str) -> None:
    root = nasty_tree(tmp_path / "root")
    xattrs = ["--xattrs", "--xattrs-include=*"] if form == "posix" else []
    archive = tmp_path / "x.tar.zst"
    with archive.open("wb") as file:
        tar = subprocess.run(
            ["tar", f"--format={form}", *xattrs, "-C", root, "-c", "."], check=True, capture_output=True
        )
        file.write(zstd(tar.stdout))
    owner = (0, 0) if os.geteuid() else None
    inputs = DirectoryInput(str(root), owner), TarInput(str(archive), owner)
    options = [RootfsOptions((one,)) for one in inputs]
    expected, found = (list(scan(one, euid=os.geteuid(), work=str(tmp_path / "work")).entries) for one in options)
    assert paths(found) == paths(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours[1:4] == theirs[1:4]
        assert ours.target == theirs.target
        assert form == "gnu" or ours.xattrs == theirs.xattrs
        assert (ours.content and load_content(ours.content)) == (theirs.content and load_content(theirs.content))
    assert {e.path: e.link for e in found if e.is_regular}.keys() == {e.path for e in expected if e.is_regular}
    assert {tuple(sorted(e.path for e in found if e.link == one.link)) for one in found if one.link} == {
        tuple(sorted(e.path for e in expected if e.link == one.link)) for one in expected if one.link
    }


@needs_tar
@pytest.mark.parametrize("form", ["gnu", "0.0", "0.1", "1.0"])
def test_sparse_files_of_every_format(tmp_path: Path, form: str) -> None:
    root = make_tree(tmp_path / "root", {"plain": b"x" * 1000})
    for name, extents in (("few", 3), ("many" * 40, 60), ("hole", 0)):
        with (root / name).open("wb") as file:
            for number in range(extents):
                file.seek(number * (64 << 10))
                file.write(b"%d" % number * 100)
            file.truncate(extents * (64 << 10) + 300_001)
    options = ["--format=gnu"] if form == "gnu" else ["--format=posix", f"--sparse-version={form}"]
    archive = tmp_path / "a.tar"
    subprocess.run(["tar", "--sparse", *options, "-C", root, "-cf", archive, "."], check=True)
    assert archive.stat().st_size < 400_000
    found = contents(read(tmp_path, archive.read_bytes()))
    assert found == {f"/{path.name}": path.read_bytes() for path in root.iterdir()}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_large_owners(tmp_path: Path, form: int) -> None:
    out = io.BytesIO()
    long = "/".join(["d" * 60] * 3) if form == tarfile.USTAR_FORMAT else "/".join(["d" * 60] * 30) + "/日本"
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        info = tarfile.TarInfo(long)
        info.uid, info.gid = (0o7777777, 5) if form == tarfile.USTAR_FORMAT else (2**32 - 2, 2**31)
        info.mode, info.size = 0o4755, 3
        archive.addfile(info, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "t" * (100 if form == tarfile.USTAR_FORMAT else 4000)
        archive.addfile(link)
    found = read(tmp_path, out.getvalue())
    entry = found[f"/{long}"]
    assert (entry.mode, entry.uid, entry.gid) == (stat.S_IFREG | 0o4755, info.uid, info.gid)
    assert found["/link"].target == link.linkname


def test_binary_attributes(tmp_path: Path) -> None:
    value = bytes(range(256)) * 20
    pairs = ((b"SCHILY.xattr.user.b", value), (b"SCHILY.xattr.user.empty", b""), (b"SCHILY.xattr.user.a%3Db%25", b"1"))
    found = read(tmp_path, pax(*pairs, (b"RHT.security.selinux", b"x_t")) + member(b"a") + member(b"b") + END)
    assert found["/a"].xattrs == {"user.b": value, "user.empty": b"", "user.a=b%": b"1", "security.selinux": b"x_t\0"}
    assert found["/b"].xattrs == {}


def test_attributes_in_the_form_of_bsdtar(tmp_path: Path) -> None:
    pairs = (
        (b"LIBARCHIVE.xattr.user.a%3Db%25", b"AP8K"),
        (b"LIBARCHIVE.xattr.user.short", b"Zg"),
        (b"LIBARCHIVE.xattr.user.x", b"Zg"),
    )
    found = read(tmp_path, pax(*pairs, (b"SCHILY.xattr.user.x", b"raw")) + member(b"a") + END)
    assert found["/a"].xattrs == {"user.a=b%": b"\0\xff\n", "user.short": b"f", "user.x": b"raw"}


def test_folders_of_an_incremental_archive(tmp_path: Path) -> None:
    found = read(tmp_path, member(b"d/", b"Yx\0\0", kind=b"D") + member(b"d/x", b"1") + END)
    assert found["/d"].is_directory
    assert contents(found) == {"/d/x": b"1"}


@pytest.mark.parametrize("packing", ["plain", "gzip"])
def test_holes_take_no_room(tmp_path: Path, packing: str) -> None:
    """A lastlog of 3 GiB is almost empty, and is usually dropped; swap files consist of zeros."""
    size = (256 << 20) + 5
    lastlog = pax((b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.map", b"0,4")) + member(b"lastlog", b"1234")
    found = read(tmp_path, PACKED[packing](lastlog + member(b"swap", bytes(32 << 20)) + END))
    assert [found[path].content.size for path in ("/lastlog", "/swap")] == [size, 32 << 20]  # type: ignore[union-attr]
    assert contents(found)["/lastlog"] == b"1234" + bytes(size - 4)
    assert sum(path.stat().st_blocks * 512 for path in (tmp_path / "work").rglob("*.spool")) < 4 << 20


def test_records_for_all_and_for_one(tmp_path: Path) -> None:
    common = pax((b"uid", b"7"), (b"SCHILY.xattr.user.all", b"1"), kind=b"g")
    found = read(tmp_path, common + member(b"a") + pax((b"uid", b"8"), (b"path", b"c")) + member(b"b") + END)
    assert {path: entry.uid for path, entry in found.items()} == {"/": 0, "/a": 7, "/c": 8}
    assert found["/c"].xattrs == {"user.all": b"1"}


def test_records_for_all_may_stand_between_a_member_and_its_own(tmp_path: Path) -> None:
    own, common = pax((b"path", b"c")), pax((b"uid", b"7"), kind=b"g")
    found = read(tmp_path, own + common + member(b"a") + member(b"b") + END)
    assert {path: entry.uid for path, entry in found.items()} == {"/": 0, "/b": 7, "/c": 7}


@pytest.mark.parametrize("last", [pax((b"uid", b"7"), kind=b"g"), member(b"label", kind=b"V")])
def test_what_is_no_member_may_come_last(tmp_path: Path, last: bytes) -> None:
    assert list(read(tmp_path, member(b"a") + last + END)) == ["/", "/a"]


def test_hard_links_in_any_order(tmp_path: Path) -> None:
    data = (
        member(b"a", kind=b"1", link=b"./b")
        + member(b"b", kind=b"1", link=b"/d/c")
        + member(b"d/c", b"data")
        + member(b"s", kind=b"2", link=b"x")
        + member(b"t", kind=b"1", link=b"s")
        + END
    )
    found = read(tmp_path, data)
    assert contents(found) == {"/a": b"data", "/b": b"data", "/d/c": b"data"}
    assert found["/a"].link == found["/b"].link == found["/d/c"].link is not None
    assert found["/t"] == found["/s"]._replace(path="/t")


def test_concatenated_archives_lie_over_each_other(tmp_path: Path) -> None:
    one = member(b"./", kind=b"5") + member(b"a", b"1") + member(b"b", b"1") + END + bytes(512 * 16)
    two = member(b"./", kind=b"5", uid=octal(9, 8)) + member(b"b", b"2") + member(b"c", b"2") + END
    found = read(tmp_path, one + two)
    assert contents(found) == {"/a": b"1", "/b": b"2", "/c": b"2"}
    assert found["/"].uid == 9


def test_a_hard_link_of_a_concatenated_archive_keeps_what_it_was_made_to(tmp_path: Path) -> None:
    """The result is the same as unpacking the archives one after the other."""
    one = member(b"f", b"old") + member(b"h", kind=b"1", link=b"f") + END
    two = member(b"g", kind=b"1", link=b"h") + member(b"e", kind=b"1", link=b"f") + member(b"f", b"new")
    found = read(tmp_path, one + two + member(b"f2", kind=b"1", link=b"f") + END)
    assert contents(found) == dict.fromkeys(("/e", "/g", "/h"), b"old") | dict.fromkeys(("/f", "/f2"), b"new")
    assert found["/e"].link == found["/g"].link == found["/h"].link != found["/f"].link == found["/f2"].link
    assert None not in {found["/h"].link, found["/f"].link}


def test_a_hard_link_of_a_concatenated_archive_may_be_replaced(tmp_path: Path) -> None:
    one = member(b"f", b"old") + member(b"h", kind=b"1", link=b"f") + END
    found = read(tmp_path, one + member(b"h", b"new") + END)
    assert contents(found) == {"/f": b"old", "/h": b"new"}
    assert found["/h"].link is None
    found = read(tmp_path, one + member(b"d", b"2") + member(b"h", kind=b"1", link=b"d") + END)
    assert contents(found) == {"/d": b"2", "/f": b"old", "/h": b"2"}
    assert found["/h"].link == found["/d"].link != found["/f"].link


def test_devices_and_fifos_are_streamed(tmp_path: Path) -> None:
    data = (
        member(b"w", kind=b"3")
        + member(b"n", kind=b"3", major=octal(1, 8), minor=octal(3, 8))
        + member(b"f", kind=b"6")
    )
    data += member(b"l", kind=b"4", major=octal(7, 8)) + END
    assert {path: entry.target for path, entry in read(tmp_path, data).items()} == {
        "/": None, "/f": None, "/l": "7:0", "/n": "1:3", "/w": None,
    }  # fmt: skip


def test_a_prefix_does_not_count_for_the_length_of_a_path(tmp_path: Path) -> None:
    longest = b"/".join([b"d" * 200] * 30)[:4094]
    found = read(tmp_path, pax((b"path", b"./" + longest)) + member(b"x", b"1") + END)
    assert max(found, key=len) == "/" + longest.decode()
    with pytest.raises(InputError, match="unsafe name"):
        read(tmp_path, pax((b"path", longest + b"d")) + member(b"x", b"1") + END)


def test_missing_parents_are_plain_directories_of_root(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(member(b"b-/x") + member(b"b/c/x") + END)
    options = RootfsOptions((TarInput(str(tmp_path / "a.tar")),), clean=False, stub_resolv_conf=False)
    found = list(scan(options, euid=1000, work=str(tmp_path / "work")).entries)
    assert paths(found) == ["/", "/b", "/b-", "/b-/x", "/b/c", "/b/c/x"]
    assert {entry[1:4] for entry in found if not entry.is_regular} == {(0o40755, 0, 0)}


HOSTILE = {
    "upwards": member(b"../x"),
    "upwards inside": member(b"a/../../x"),
    "upwards by pax": pax((b"path", b"../x")) + member(b"a"),
    "upwards by long name": member(b"L", b"../x\0", b"L") + member(b"a"),
    "hard link upwards": member(b"a", kind=b"1", link=b"../../etc/passwd"),
    "hard link to the host": member(b"a", kind=b"1", link=b"/etc/passwd"),
    "hard link to itself": member(b"a", kind=b"1", link=b"a"),
    "hard links in a circle": member(b"a", kind=b"1", link=b"b") + member(b"b", kind=b"1", link=b"a"),
    "hard link into a circle": member(b"0", kind=b"1", link=b"a") + member(b"a", kind=b"1", link=b"b") + member(b"b", kind=b"1", link=b"a"),
    "hard link to a directory": member(b"d", kind=b"5") + member(b"a", kind=b"1", link=b"d"),
    "hard link with a body": member(b"b") + pax((b"path", b"a")) + member(b"a", header(b"evil"), b"1", link=b"b"),
    "a path twice": member(b"a", b"1") + member(b"./a", b"2"),
    "a file over a directory": member(b"a", kind=b"5") + member(b"a", b"2"),
    "a directory over a link": member(b"a", kind=b"2", link=b"/etc") + member(b"a", kind=b"5"),
    "a link over a hard link": member(b"b") + member(b"a", kind=b"1", link=b"b") + member(b"a", kind=b"2", link=b"/etc"),
    "empty name": member(b""),
    "NUL in a name": pax((b"path", b"a\0b")) + member(b"a"),
    "endless name": pax((b"path", b"a/" * 4000)) + member(b"a"),
    "negative size": header(b"a", size=b"\xff" * 12),
    "huge size": header(b"a", size=b"\x80" + b"\0" * 2 + b"\x7f" * 9),
    "huge pax size": pax((b"size", b"9" * 19)) + member(b"a"),
    "pax size that is no number": pax((b"size", b"-1")) + member(b"a"),
    "pax owner that is no number": pax((b"uid", b"0x0")) + member(b"a"),
    "pax owner of 67 bits": pax((b"gid", b"9" * 20)) + member(b"a"),
    "pax owner of 64 bits": pax((b"uid", b"%d" % (1 << 63))) + member(b"a"),
    "owner of 64 bits": header(b"a").replace(b"0000000\0", b"\x80" + b"\xff" * 7, 1),
    "size that is no number": header(b"a", size=b"00000000z00\0"),
    "huge pax header": header(b"p", b"x", size=1 << 30),
    "pax length of zero": member(b"p", b"0 path=x\n", b"x") + member(b"a"),
    "pax length too long": member(b"p", b"99 path=x\n", b"x") + member(b"a"),
    "pax length too short": member(b"p", b"5 path=x\n", b"x") + member(b"a"),
    "pax without equals": member(b"p", b"7 path\n", b"x") + member(b"a"),
    "pax without a length": member(b"p", b"path=x\n", b"x") + member(b"a"),
    "pax without a member": pax((b"path", b"b")),
    "bad checksum": member(b"a").replace(b"a", b"b", 1),
    "unknown type": member(b"a", kind=b"Z"),
    "multi-volume": member(b"a", kind=b"M"),
    "sparse map beyond the size": pax((b"GNU.sparse.size", b"5"), (b"GNU.sparse.map", b"10,4")) + member(b"a", b"1234"),
    "sparse map out of order": pax((b"GNU.sparse.size", b"50"), (b"GNU.sparse.map", b"10,2,4,2")) + member(b"a", b"1234"),
    "sparse map of odd length": pax((b"GNU.sparse.size", b"50"), (b"GNU.sparse.map", b"10,4,20")) + member(b"a", b"1234"),
    "sparse map against the body": pax((b"GNU.sparse.size", b"50"), (b"GNU.sparse.map", b"10,9")) + member(b"a", b"1234"),
    "sparse map of no numbers": pax((b"GNU.sparse.size", b"50"), (b"GNU.sparse.map", b"x,y")) + member(b"a", b"1234"),
    "sparse map without end": pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"9")) + member(b"a", b"9\n1\n"),
    "sparse map of digits only": pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"9")) + member(b"a", b"9" * 4096),
    "sparse bomb": pax((b"GNU.sparse.size", b"9999999999999"), (b"GNU.sparse.map", b"0,4")) + member(b"a", b"1234"),
    "too many holes": b"".join(
        pax((b"GNU.sparse.size", b"%d" % (20 << 20)), (b"GNU.sparse.map", b"0,4")) + member(b"%d" % n, b"1234") for n in range(4)
    ),
    "large attribute": pax((b"SCHILY.xattr.user.x", bytes(65537))) + member(b"a"),
    "attribute with a long name": pax((b"SCHILY.xattr.user." + b"x" * 256, b"")) + member(b"a"),
    "many attributes": pax(*((b"SCHILY.xattr.user.%d" % n, bytes(65000)) for n in range(17))) + member(b"a"),
    "attributes for all": b"".join(pax((b"SCHILY.xattr.user.%d" % n, bytes(3 << 20)), kind=b"g") for n in range(2)) + member(b"a"),
    "attribute that is no Base64": pax((b"LIBARCHIVE.xattr.user.x", b"???")) + member(b"a"),
}  # fmt: skip


@pytest.mark.parametrize("attack", HOSTILE)
@pytest.mark.parametrize("packing", ["plain", "gzip"])
def test_b11_hostile_archives_are_refused_and_touch_nothing(
    tmp_path: Path, attack: str, packing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otabuild.rootfs.decompress.HOLES", 64 << 20)
    (tmp_path / "sentinel").write_bytes(b"untouched")
    with pytest.raises(InputError):
        read(tmp_path, PACKED[packing](HOSTILE[attack] + END))
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["a.tar", "sentinel"]


@pytest.mark.parametrize(
    "data", [member(b"a", kind=b"2", link=b"/etc") + member(b"a/x", b"1"), member(b"a", b"") + member(b"a/x", b"1")]
)
def test_b11_nothing_lies_below_a_link_or_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(data + END)
    with pytest.raises(InputError, match=r"parent is not a directory|lies below a symlink"):
        list(scan(RootfsOptions((TarInput(str(tmp_path / "a.tar")),)), euid=0, work=str(tmp_path / "work")).entries)


@pytest.mark.parametrize("packing", ["gzip", "bzip2", "xz", "zstd"])
def test_b13_bombs_are_refused(tmp_path: Path, packing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otabuild.rootfs.decompress.FLOOR", 16 << 20)
    bomb = PACKED[packing](member(b"a", bytes(40 << 20)) + END)
    with pytest.raises(InputError, match=r"expands[^$]*hint: leave large files of zeros"):
        read(tmp_path, bomb)
    assert not list((tmp_path / "work").rglob("*.spool*"))


MEMORY_BOMBS = {
    "attributes": b"".join(pax((b"SCHILY.xattr.user.x", bytes(65000))) + member(b"%d" % n) for n in range(40)),
    "links": b"".join(pax((b"linkpath", b"x" * (1 << 20))) + member(b"%d" % n, kind=b"2") for n in range(3)),
    "deep names": b"".join(pax((b"path", b"%d/" % n + b"a/" * 2000 + b"x")) + member(b"a") for n in range(5)),
    "members": b"".join(member(b"%d" % n) for n in range(5_000)),
}  # fmt: skip


@pytest.mark.parametrize("bomb", MEMORY_BOMBS)
def test_b11_bombs_of_what_stays_in_memory(tmp_path: Path, bomb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otabuild.rootfs.decompress.KEPT", 2 << 20)
    with pytest.raises(InputError, match="bytes of names and attributes"):
        read(tmp_path, gzip.compress(MEMORY_BOMBS[bomb] + END))


def test_an_archive_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = TarSource(str(tmp_path / "a.tar"), str(tmp_path / "work"))
    first = read(tmp_path, zstd(member(b"a", b"1") + END))
    monkeypatch.setattr(tar_source, "write_index", lambda *_args, **_options: pytest.fail("read again"))
    assert {entry.path: entry for entry in source.entries()} == first
    shutil.copy(tmp_path / "a.tar", tmp_path / "b.tar")
    (tmp_path / "b.tar").rename(tmp_path / "a.tar")
    assert {entry.path: entry for entry in source.entries()} == first


@pytest.mark.parametrize("packing", ["plain", "gzip"])
def test_an_index_of_another_version_is_not_taken(
    tmp_path: Path, packing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version may read the same archive in a different way."""
    data = PACKED[packing](member(b"a", b"1") + END)
    read(tmp_path, data)
    for old in (tmp_path / "work").rglob("*.entries"):
        old.write_bytes(b"what another version understood")
    monkeypatch.setattr("otabuild.rootfs.archive_index.STAMP", "another")
    assert contents(read(tmp_path, data)) == {"/a": b"1"}
    assert len(list((tmp_path / "work").rglob("*.entries"))) == 1


@pytest.mark.parametrize(("racy_ns", "digested"), [(10**15, 2), (-(10**15), 1)])
def test_an_archive_written_just_before_it_was_read_is_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, racy_ns: int, digested: int
) -> None:
    monkeypatch.setattr(tar_source, "RACY_NS", racy_ns)
    digest = tar_source._digest
    calls: list[int] = []

    def counted(fd: int) -> str:
        calls.append(fd)
        return digest(fd)

    monkeypatch.setattr(tar_source, "_digest", counted)
    read(tmp_path, member(b"a", b"1") + END)
    list(TarSource(str(tmp_path / "a.tar"), str(tmp_path / "work")).entries())
    assert len(calls) == digested


def test_a_changed_archive_is_noticed_whatever_its_times(tmp_path: Path) -> None:
    assert contents(read(tmp_path, member(b"a", b"1") + END)) == {"/a": b"1"}
    source = TarSource(str(tmp_path / "a.tar"), str(tmp_path / "work"))
    before = source.fingerprint()
    status = (tmp_path / "a.tar").stat()
    (tmp_path / "a.tar").write_bytes(member(b"a", b"2") + END)
    os.utime(tmp_path / "a.tar", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert source.fingerprint() != before
    found = {entry.path: entry for entry in source.entries()}
    assert contents(found) == {"/a": b"2"}
    (tmp_path / "a.tar").write_bytes(member(b"a", b"3") + END)
    with pytest.raises(InputChangedError):
        contents(found)


def test_a_lost_spool_is_made_again(tmp_path: Path) -> None:
    data = zstd(member(b"a", b"1") + END)
    read(tmp_path, data)
    source = TarSource(str(tmp_path / "a.tar"), str(tmp_path / "work"))
    before = source.fingerprint()
    assert source.fingerprint() == before
    next((tmp_path / "work").rglob("*.spool")).unlink()
    assert source.fingerprint() == before
    assert contents(read(tmp_path, data)) == {"/a": b"1"}


def test_standard_input(tmp_path: Path) -> None:
    code = f"from otabuild.rootfs.tar_source import TarSource\nprint([e.path for e in TarSource('-', {str(tmp_path)!r}).entries()])"
    data = gzip.compress(member(b"a", b"1") + END)
    done = subprocess.run(
        [sys.executable, "-c", code], input=data, capture_output=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.decode().strip() == "['/', '/a']"


@pytest.mark.parametrize("head", [b"", gzip.compress(member(b"a"))], ids=["nothing", "gzip"])
def test_standard_input_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    def chunks(_fd: int) -> Iterator[bytes]:
        yield head
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("otabuild.rootfs.tar_source.read_chunks", chunks)
    with pytest.raises(InputUnreadableError, match="standard input: cannot be read"):
        list(TarSource("-", str(tmp_path)).entries())


def test_a_file_named_as_standard_input_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-").write_bytes(member(b"a") + END)
    assert paths(TarSource("./-", "work").entries()) == ["/", "/a"]


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    for name, data in (("text", b"no archive at all" * 100), ("short", b"x"), ("gz", gzip.compress(b"text" * 500))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=f"{name}: not a tar archive"):
            list(TarSource(str(tmp_path / name), str(tmp_path / "work")).entries())
    (tmp_path / "empty").touch()
    with pytest.raises(InputError, match="empty: the archive is cut off"):
        list(TarSource(str(tmp_path / "empty"), str(tmp_path / "work")).entries())
    os.mkfifo(tmp_path / "fifo")
    for name in "fifo", "missing":
        with pytest.raises(InputError, match=name):
            TarSource(str(tmp_path / name), str(tmp_path / "work")).fingerprint()


def test_what_takes_too_much_memory_is_named(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=28)
    data = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(InputError, match=r"too much memory[^$]*without --long"):
        read(tmp_path, data.compress(member(b"a") + END) + data.flush())


def test_a_file_whose_name_begins_as_bzip2_does(tmp_path: Path) -> None:
    assert contents(read(tmp_path, member(b"BZh91", b"1") + END)) == {"/BZh91": b"1"}


def test_old_headers(tmp_path: Path) -> None:
    v7 = header(b"dir/", b"\0", magic=bytes(8)) + header(b"dir/f", b"\0", size=1, magic=bytes(8)) + padded(b"x")
    found = read(tmp_path, v7 + header(b"name", prefix=b"pre/fix") + END)
    assert sorted(found) == ["/", "/dir", "/dir/f", "/pre", "/pre/fix", "/pre/fix/name"]
    assert found["/dir"].is_directory


def test_only_the_newest_spool_is_kept(tmp_path: Path) -> None:
    for text in b"1", b"2":
        read(tmp_path, zstd(member(b"a", text) + END))
    assert len(list((tmp_path / "work").rglob("*.spool"))) == len(list((tmp_path / "work").rglob("*.entries"))) == 1


@pytest.mark.parametrize("packing", ["plain", "gzip"])
def test_a_moved_work_directory_still_serves(tmp_path: Path, packing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/a.tar").write_bytes(PACKED[packing](member(b"a", b"1") + END))
    monkeypatch.chdir(tmp_path / "one")
    list(TarSource("a.tar", "work").entries())
    (tmp_path / "one").rename(tmp_path / "two")
    monkeypatch.chdir(tmp_path / "two")
    found = {entry.path: entry for entry in TarSource("a.tar", "work").entries()}
    monkeypatch.chdir(tmp_path)
    assert contents(found) == {"/a": b"1"}


_SEED = b"".join(
    [
        pax((b"SCHILY.xattr.user.x", b"1"), (b"mtime", b"1.5")), member(b"a", b"data"), member(b"L", b"long\0", b"L"),
        member(b"x"), member(b"d", kind=b"5"), member(b"l", kind=b"1", link=b"a"), member(b"s", kind=b"2", link=b"a"),
        pax((b"GNU.sparse.size", b"50"), (b"GNU.sparse.map", b"10,4")), member(b"sp", b"1234"), END,
    ]
)  # fmt: skip


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, len(_SEED) - 1), st.binary(min_size=1, max_size=12)), min_size=1, max_size=4),
    st.booleans(),
)
def test_spoilt_archives_give_our_error_or_a_tree(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, bytes]], mend: bool
) -> None:
    data = bytearray(_SEED)
    for at, new in changes:
        data[at : at + len(new)] = new
    for at in range(0, len(data) - 511, 512) if mend else ():
        if data[at + 257 : at + 262] == b"ustar":
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    folder = tmp_path_factory.mktemp("spoilt")
    (folder / "a.tar").write_bytes(data)
    try:
        found = scan(
            RootfsOptions((TarInput(str(folder / "a.tar")),), unsupported="skip"), euid=0, work=str(folder / "work")
        )
        for entry in found.entries:
            if entry.content is not None:
                assert len(load_content(entry.content)) == entry.content.size
    except OtabuildError as error:
        str(error).encode()
    shutil.rmtree(folder)


@contextmanager
def standard_input(data: bytes) -> Iterator[None]:
    """Give this process a pipe as its standard input, through which the data comes a little at a time."""
    here, there = os.pipe()
    saved = os.dup(0)
    os.dup2(here, 0)
    os.close(here)

    def feed() -> None:
        with open(there, "wb", buffering=0) as file:
            file.writelines(data[at : at + 10_000] for at in range(0, len(data), 10_000))

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        thread.join()


def test_standard_input_through_a_pipe_is_the_whole_archive(tmp_path: Path) -> None:
    text = os.urandom(300_000)
    source = TarSource("-", str(tmp_path))
    assert source.fingerprint() == TarSource("-", str(tmp_path)).fingerprint()
    with standard_input(member(b"a", text) + END):
        found = {entry.path: entry for entry in source.entries()}
    assert contents(found) == {"/a": text}


@pytest.mark.parametrize("behind", [b"\0" * 8, b"\0" * 10_240])
@pytest.mark.parametrize("packing", ["gzip", "bzip2", "xz"])
def test_zeros_behind_a_compressed_archive_are_padding(tmp_path: Path, packing: str, behind: bytes) -> None:
    assert contents(read(tmp_path, PACKED[packing](member(b"a", b"1") + END) + behind)) == {"/a": b"1"}


@pytest.mark.parametrize("first", [b"", member(b"L", b"long/name\0", b"L")])
def test_the_label_of_a_volume_is_no_entry(tmp_path: Path, first: bytes) -> None:
    label = member(b"backup of 2026", kind=b"V")
    assert list(read(tmp_path, label + first + member(b"a") + END))[-1] == ("/long/name" if first else "/a")
    assert not any("backup" in path for path in read(tmp_path, label + first + member(b"a") + END))


def test_an_archive_that_changes_while_it_is_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = tar_source._digest

    def changing(fd: int) -> str:
        os.utime(tmp_path / "a.tar", ns=(0, 0))
        return digest(fd)

    monkeypatch.setattr(tar_source, "_digest", changing)
    with pytest.raises(InputChangedError, match=r"a\.tar: the archive changed while it was read"):
        read(tmp_path, member(b"a") + END)


def test_an_archive_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_fd: int) -> Iterator[bytes]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(tar_source, "read_chunks", broken)
    with pytest.raises(InputUnreadableError, match=r"a\.tar: cannot be read .*Input/output error"):
        read(tmp_path, member(b"a") + END)


def sparse_of_gnu(pairs: int) -> bytes:
    """A member in the old form of GNU tar, whose map is longer than a header holds."""

    def pair(number: int) -> bytes:
        return octal(number * 1024, 12) + octal(512, 12)

    numbers = [pair(number) for number in range(pairs)]
    rest = b"".join(numbers[:4]) + b"\1" + octal(pairs * 1024, 12)
    block = header(b"sparse", b"S", size=pairs * 512, magic=b"ustar  \0", rest=rest)
    more = [b"".join(numbers[at : at + 21]).ljust(504, b"\0") for at in range(4, pairs, 21)]
    maps = b"".join(part + (b"\1" if part is not more[-1] else b"\0") + bytes(7) for part in more)
    return block + maps + b"x" * 512 * pairs


def test_a_map_of_holes_over_several_blocks(tmp_path: Path) -> None:
    assert contents(read(tmp_path, sparse_of_gnu(60) + END)) == {"/sparse": (b"x" * 512 + bytes(512)) * 60}


@pytest.mark.parametrize(
    "data",
    [
        sparse_of_gnu(60),
        pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"9")) + member(b"a", b"51\n".ljust(512, b"\0")),
    ],
    ids=["gnu", "1.0"],
)
def test_b13_a_map_of_holes_without_bounds(tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otabuild.rootfs.tar_sparse._EXTENTS_MAX", 50)
    with pytest.raises(InputError, match="the map of a sparse file is too long"):
        read(tmp_path, data + END)


@pytest.mark.parametrize("place", ["", "/elsewhere"])
def test_an_index_that_is_lost_or_not_ours_is_damaged(tmp_path: Path, place: str) -> None:
    index = ArchiveIndex(str(tmp_path), "index")
    if place:
        with open(index.entries_path, "wb") as file:
            write_entries(file, [regular("/a", at=place)])
    with pytest.raises(DamagedEntriesError, match=re.escape(index.entries_path)):
        list(index.read())
