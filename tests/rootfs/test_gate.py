from __future__ import annotations

import stat
import struct

import pytest

from otabuild.errors import InputError, LimitError, UnsupportedEntryError
from otabuild.format.file_table import ACL, DEFAULT_ACL
from otabuild.rootfs.entry import Entry
from otabuild.rootfs.gate import as_tree, supported
from tests.rootfs.trees import acl, folder, paths, regular, symlink
from tests.verification.cases_tables import BAD_CAPABILITIES


def special(path: str, kind: int, device: str | None = None) -> Entry:
    return Entry(path, kind | 0o644, 0, 0, {}, device, None, None)


WHITEOUT = special("/w", stat.S_IFCHR)
LONG = "/" + "/".join(["x" * 255] * 15) + "/" + "y" * 254
BAD = [
    special("/1", stat.S_IFIFO),
    special("/2", stat.S_IFSOCK),
    special("/3", stat.S_IFBLK, "7:0"),
    special("/4", stat.S_IFCHR, "1:3"),
    symlink("/5", "\udcff"),
    folder("/6\udcff"),
    regular("/6\udcff/below"),
    regular("/7" + "n" * 255),
    regular(LONG + "/z"),
]
REASONS = [
    "/1 (fifo)", "/2 (socket)", "/3 (block device 7:0)", "/4 (character device 1:3)", "/5 (its target is not UTF-8)",
    "/6\udcff (its name is not UTF-8)", BAD[-2].path + " (its name is longer than 255 bytes)",
    LONG + "/z (its path is longer than 4095 bytes)",
]  # fmt: skip


@pytest.mark.parametrize("policy", ["warn", "skip"])
def test_b3_b4_what_the_format_cannot_hold_is_left_out_and_listed(policy: str) -> None:
    left_out: list[str] = []
    assert policy in {"warn", "skip"}
    kept = supported([folder("/"), *BAD, WHITEOUT, regular("/x")], "warn" if policy == "warn" else "skip", left_out)
    assert paths(kept) == ["/", "/w", "/x"]
    assert left_out == REASONS


def test_b3_b4_one_error_lists_everything() -> None:
    with pytest.raises(UnsupportedEntryError) as caught:
        list(supported([folder("/"), *BAD], "error", []))
    assert caught.value.observed == ", ".join(REASONS)
    str(caught.value).encode()


def test_a_long_list_ends_with_a_count() -> None:
    fifos = [special(f"/{n:03}", stat.S_IFIFO) for n in range(100)]
    with pytest.raises(UnsupportedEntryError, match=r"/000 \(fifo\), .*/019 \(fifo\), and 80 more\)"):
        list(supported([folder("/"), *fifos], "error", []))


def test_an_attribute_with_an_illegal_name_is_left_out() -> None:
    left_out: list[str] = []
    entry = regular("/x")._replace(xattrs={"user.\udcff": b"1", "user.ok": b"2"})
    assert [dict(e.xattrs) for e in supported([entry], "warn", left_out)] == [{"user.ok": b"2"}]
    assert left_out == ["/x (the name of its attribute user.\udcff is not UTF-8)"]
    with pytest.raises(UnsupportedEntryError):
        list(supported([entry], "error", []))


def test_a_capability_that_no_revision_has_is_left_out() -> None:
    left_out: list[str] = []
    entry = regular("/x")._replace(xattrs={"security.capability": b"\1\0\0\2" + bytes(15), "user.ok": b"2"})
    assert [dict(e.xattrs) for e in supported([entry], "warn", left_out)] == [{"user.ok": b"2"}]
    assert left_out == ["/x (its attribute security.capability has 19 bytes, which matches no revision)"]
    with pytest.raises(UnsupportedEntryError):
        list(supported([entry], "error", []))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", b"x"),
        ("user.a\0b", b"x"),
        ("user." + "n" * 251, b"x"),
        *(("security.capability", value) for value in BAD_CAPABILITIES.values()),
    ],
)
def test_an_attribute_that_verification_refuses_is_not_built(name: str, value: bytes) -> None:
    left_out: list[str] = []
    entry = regular("/x")._replace(xattrs={name: value, "user.ok": b"2"})
    assert [dict(e.xattrs) for e in supported([entry], "warn", left_out)] == [{"user.ok": b"2"}]
    assert len(left_out) == 1
    with pytest.raises(UnsupportedEntryError):
        list(supported([entry], "error", []))


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        (symlink("/x", "y"), "user.a"),
        (symlink("/x", "y"), ACL),
        (regular("/x"), DEFAULT_ACL),
    ],
)
def test_an_attribute_that_linux_does_not_set_of_such_an_entry_is_not_built(entry: Entry, name: str) -> None:
    left_out: list[str] = []
    value = acl((0x01, 6), (0x02, 7), (0x04, 0), (0x10, 7), (0x20, 4))
    given = entry._replace(xattrs={name: value})
    assert list(supported([given], "warn", left_out)) == [entry._replace(xattrs={})]
    assert left_out[0].startswith(f"/x (its attribute {name} is ")
    with pytest.raises(UnsupportedEntryError):
        list(supported([given], "error", []))


@pytest.mark.parametrize("magic", [0x02000000, 0x02000001])
def test_a_capability_that_linux_sets_passes(magic: int) -> None:
    entry = regular("/x")._replace(xattrs={"security.capability": struct.pack("<5I", magic, 1, 0, 0, 0)})
    assert list(supported([entry], "error", [])) == [entry]


def test_a_mode_that_the_access_control_list_would_change_is_refused() -> None:
    widest = acl((0x01, 6), (0x02, 7), (0x04, 0), (0x10, 7), (0x20, 4))
    entry = regular("/x")._replace(xattrs={"system.posix_acl_access": widest})
    list(as_tree([folder("/"), entry._replace(mode=stat.S_IFREG | 0o674)]))
    with pytest.raises(InputError, match=r"observed 600, expected 674"):
        list(as_tree([folder("/"), entry._replace(mode=stat.S_IFREG | 0o600)]))
    for dropped in (acl((0x01, 6), (0x04, 0), (0x20, 0)), b"", b"\2\0\0\0\1", widest.replace(b"\2", b"\3", 1)):
        with pytest.raises(InputError, match="a list that Linux keeps"):
            list(as_tree([folder("/"), entry._replace(xattrs={"system.posix_acl_access": dropped})]))


def test_the_longest_path_and_name_pass() -> None:
    assert len(LONG.encode()) == 4095
    left_out: list[str] = []
    list(supported([regular(LONG), regular("/" + "n" * 255), regular("/" + "日" * 85)], "warn", left_out))
    assert left_out == []


def test_a_tree_passes() -> None:
    entries = [folder("/"), folder("/a"), regular("/a/b"), WHITEOUT]
    assert list(as_tree(entries)) == entries


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "it has no `/`"),
        ([regular("/a")], "parent is not a directory"),
        ([folder("/"), regular("/a/b")], "parent is not a directory"),
        ([folder("/"), symlink("/a", "b"), regular("/a/b")], "/a is a symlink to b, expected /b/b"),
        (
            [folder("/"), symlink("/a", "/x"), regular("/a-b"), symlink("/a.c", "y"), regular("/a/b/c")],
            "expected /x/b/c",
        ),
        ([folder("/"), folder("/a"), symlink("/a/l", "../b"), regular("/a/l/m")], "expected /b/m"),
        ([folder("/"), regular("/a"), regular("/a")], "twice or out of order"),
        ([folder("/"), regular("/b"), regular("/a")], "twice or out of order"),
        ([folder("/")._replace(uid=2**32 - 1)], "owner is out of range"),
        ([folder("/")._replace(gid=-1)], "owner is out of range"),
        ([folder("/")._replace(mode=0o200755 | 1 << 16)], "parent is not a directory|more than 16 bits"),
        ([folder("/"), symlink("/a", "")], "target"),
        ([folder("/"), symlink("/a", "x" * 4096)], "target"),
        ([folder("/"), symlink("/a", "x\0y")], "target"),
        ([folder("/"), regular("/a", link="l"), regular("/b", size=1, link="l")], "differ in size or content"),
        ([folder("/"), regular("/a", link="l"), symlink("/b", "a")._replace(link="l")], "differ in mode and target"),
    ],
)
def test_what_is_no_tree_is_refused(entries: list[Entry], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(as_tree(entries))


def test_large_attributes_are_refused() -> None:
    with pytest.raises(LimitError, match="attribute"):
        list(as_tree([folder("/")._replace(xattrs={"user.x": b"x" * 65537})]))
