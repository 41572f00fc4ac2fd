"""Extended attributes in the file table, and what Linux makes of them (section 6)."""

from __future__ import annotations

import stat
import struct
from typing import Any

import msgpack
import pytest

from otabuild.errors import LimitError, TableError
from otabuild.format import limits
from otabuild.format.file_table import (
    ACL,
    DEFAULT_ACL,
    acl_permissions,
    pack_xattrs,
    unpack_xattrs,
    xattr_problem,
)
from tests.rootfs.trees import acl

FILE, FOLDER, LINK, WHITEOUT = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR
LIST = acl((0x01, 6), (0x02, 7), (0x04, 1), (0x08, 1), (0x10, 5), (0x20, 4))


def test_attributes_are_packed_in_order_of_names_and_read_back() -> None:
    packed = pack_xattrs({"user.b": b"2", "user.a": b"1"}, "/x")
    assert packed == b"\x82\xa6user.a\xc4\x011\xa6user.b\xc4\x012"
    assert unpack_xattrs(packed, "/x") == {"user.a": b"1", "user.b": b"2"}
    assert pack_xattrs({}, "/x") is None
    assert unpack_xattrs(None, "/x") == {}


def test_names_and_values_are_as_large_as_linux_takes_them() -> None:
    name, value = "é" * 127 + "x", bytes(limits.XATTR_VALUE)
    assert unpack_xattrs(pack_xattrs({name: value}, "/x"), "/x") == {name: value}
    for too_large in ({name + "x": b""}, {"a": value + b"x"}):
        with pytest.raises(LimitError, match="extended attribute too large") as caught:
            pack_xattrs(too_large, "/x")
        assert caught.value.where == f"/x {next(iter(too_large))}"
        assert caught.value.observed == f"{len(next(iter(too_large.values())))} bytes"
        assert caught.value.expected == "at most 65536"


@pytest.mark.parametrize("excess", [0, 1])
def test_the_limit_of_all_attributes_to_the_byte(excess: int) -> None:
    many = {f"user.{n:02}": bytes(65_000) for n in range(16)}
    rest = limits.XATTRS + excess - len(msgpack.packb({**many, "user.zz": bytes(300)})) + 300
    many["user.zz"] = bytes(rest)
    if not excess:
        packed = pack_xattrs(many, "/x")
        assert packed is not None
        assert unpack_xattrs(packed, "/x") == many
        return
    with pytest.raises(LimitError, match="extended attributes too large") as caught:
        pack_xattrs(many, "/x")
    assert (caught.value.where, caught.value.observed, caught.value.expected) == ("/x", "1048577", "1048576")
    with pytest.raises(LimitError, match="extended attributes too large") as caught:
        unpack_xattrs(bytes(msgpack.packb(many)), "/x")
    assert (caught.value.where, caught.value.observed, caught.value.expected) == ("/x", "1048577", "1048576")


@pytest.mark.parametrize(
    "packed",
    [b"", b"\xc1", b"\x81", b"\x80x", b"\x81\xa1a\xc7\1\1x", b"\x81\1\xc4\0", b"\x81\xa1a\x91\1"],
    ids=bytes.hex,
)
def test_what_is_not_messagepack(packed: bytes) -> None:
    with pytest.raises(TableError, match="xattrs are not a MessagePack map") as caught:
        unpack_xattrs(packed, "/x")
    assert caught.value.where == "/x"
    assert caught.value.observed != "None"


@pytest.mark.parametrize("value", [5, "x", None, {}], ids=repr)
def test_what_is_no_map_with_an_entry(value: Any) -> None:
    with pytest.raises(TableError, match="without attributes the column is NULL") as caught:
        unpack_xattrs(bytes(msgpack.packb(value)), "/x")
    assert caught.value.where == "/x"


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        (b"\x82\xa1a\xc4\0\xa1a\xc4\0", "'a' occurs twice"),
        (b"\x81\xa1a\xa1b", "'a' is not a pair of name and bytes"),
        (b"\x81\xc4\1a\xc4\0", "b'a' is not a pair of name and bytes"),
        (b"\x81\xa0\xc4\0", "'' has a name that Linux does not accept (1 to 255 bytes, no NUL)"),
        (b"\x81\xa1\0\xc4\0", r"'\x00' has a name that Linux does not accept (1 to 255 bytes, no NUL)"),
    ],
)
def test_an_attribute_that_cannot_be(pairs: bytes, problem: str) -> None:
    with pytest.raises(TableError) as caught:
        unpack_xattrs(pairs, "/x")
    assert f"extended attribute {problem}" in str(caught.value)
    assert caught.value.where == "/x"


GOOD = struct.pack("<5I", 0x02000000, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (GOOD, ""),
        (struct.pack("<5I", 0x02000001, 1, 0, 0, 0), ""),
        (GOOD[:19], "has 19 bytes, which matches no revision"),
        (bytes(12), "has revision 1, which Linux does not set any more; set it again with `setcap`"),
        (bytes(24), "has a namespace (revision 3), which the format stores as revision 2"),
        (
            struct.pack("<5I", 0x03000000, 1, 0, 0, 0),
            "begins with 0x03000000, which is neither revision 2 nor its effective flag",
        ),
        (
            struct.pack("<5I", 0x02000002, 1, 0, 0, 0),
            "begins with 0x02000002, which is neither revision 2 nor its effective flag",
        ),
    ],
)
def test_capabilities_that_linux_sets(value: bytes, problem: str) -> None:
    assert xattr_problem("security.capability", value, FILE) == problem
    assert xattr_problem("user.x", value, FILE) == ""


def test_names_that_linux_takes() -> None:
    accepted = "has a name that Linux does not accept (1 to 255 bytes, no NUL)"
    assert xattr_problem("a" * 255, b"", FILE) == ""
    for name in ("a" * 256, "é" * 128, "", "a\0"):
        assert xattr_problem(name, b"", FILE) == accepted


@pytest.mark.parametrize(
    ("name", "mode", "is_set"),
    [
        ("user.a", FILE, True),
        ("user.a", FOLDER, True),
        ("user.a", LINK, False),
        ("user.a", WHITEOUT, False),
        ("trusted.a", LINK, True),
        ("security.capability", LINK, True),
        (ACL, FILE, True),
        (ACL, FOLDER, True),
        (ACL, WHITEOUT, True),
        (ACL, LINK, False),
        (DEFAULT_ACL, FOLDER, True),
        (DEFAULT_ACL, FILE, False),
        (DEFAULT_ACL, WHITEOUT, False),
        (DEFAULT_ACL, LINK, False),
    ],
)
def test_attributes_that_linux_sets_of_a_kind_of_inode(name: str, mode: int, is_set: bool) -> None:
    value = struct.pack("<5I", 0x02000000, 1, 0, 0, 0) if name == "security.capability" else LIST
    assert (not xattr_problem(name, value, mode)) == is_set


@pytest.mark.parametrize(
    "value",
    [
        LIST[:-8],
        LIST[:-1],
        b"\3" + LIST[1:],
        b"\2\0\0\0",
        b"junk",
        acl((0x04, 4), (0x01, 6), (0x20, 4)),
        acl((0x01, 6), (0x02, 4), (0x04, 4), (0x20, 4)),
        acl((0x01, 8), (0x04, 4), (0x20, 4)),
        acl((0x01, 6), (0x40, 4), (0x20, 4)),
        LIST.replace(struct.pack("<HHI", 0x02, 7, 1000), struct.pack("<HHI", 0x02, 7, 0xFFFFFFFF)),
    ],
)
def test_access_control_lists_that_linux_does_not_take(value: bytes) -> None:
    for name in (ACL, DEFAULT_ACL):
        assert xattr_problem(name, value, FOLDER) == "is not an access control list that Linux takes"
    assert not xattr_problem(DEFAULT_ACL, acl((0x01, 6), (0x04, 4), (0x20, 4)), FOLDER)


@pytest.mark.parametrize(
    ("value", "permissions"),
    [
        (acl((0x01, 6), (0x02, 7), (0x04, 1), (0x10, 5), (0x20, 4)), 0o654),
        (acl((0x01, 7), (0x04, 0), (0x10, 0), (0x20, 1)), 0o701),
        (acl((0x01, 6), (0x10, 3), (0x20, 4)), 0o634),
        (acl((0x01, 6), (0x04, 0), (0x20, 4)), None),
        (acl((0x04, 0), (0x10, 0), (0x20, 4)), None),
        (acl((0x01, 6), (0x10, 0)), None),
        (b"\1" + acl((0x01, 6), (0x10, 7), (0x20, 4))[1:], None),
        (acl((0x01, 6), (0x10, 7), (0x20, 4)) + b"x", None),
        (b"", None),
    ],
)
def test_an_access_control_list_has_the_permissions_of_owner_mask_and_others(
    value: bytes, permissions: int | None
) -> None:
    assert acl_permissions(value) == permissions
