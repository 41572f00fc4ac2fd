"""Access control lists as text: what each becomes, to the byte."""

from __future__ import annotations

import pytest

from otabuild.format.file_table import DEFAULT_ACL
from otabuild.rootfs.acl_text import UNCONVERTED, attribute, is_trivial
from tests.rootfs.trees import acl

ACCESS = "system.posix_acl_access"
PLAIN = acl((1, 6), (4, 4), (32, 0))
NAMED = acl((1, 7), (2, 5), (4, 5), (16, 5), (32, 0))


@pytest.mark.parametrize(
    ("text", "packed"),
    [
        (b"user::rw-,group::r--,other::---", PLAIN),
        (b"user::rw-\ngroup::r--\nother::---\n", PLAIN),
        (b"user::rw-\n\n  \ngroup::r--\nother::---", PLAIN),
        (b"# owner: root\nuser::rw-\ngroup::r--  # all of them\nother::---\n#", PLAIN),
        (b"user::rwx,group::r-x,other::---,mask::r-x,user:1000:r-x", NAMED),
        (b"user::rwx,group::r-x,other:---,mask:r-x,user:somebody:r-x:1000", NAMED),
        (b"default:user::rw-,default:group::r--,default:other::---", PLAIN),
    ],
)
def test_a_list_of_numbers_becomes_what_linux_stores(text: bytes, packed: bytes) -> None:
    assert attribute(ACCESS, text) == (ACCESS, packed)
    assert is_trivial(packed) is (packed == PLAIN)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"user::rw-,group::r--",
        b"user::rw-,group::r--,other::---,user:somebody:r--",
        b"user::rw-,group::r--,other::---,user:1000:r--",
        b"user::rw-,group::r--,other::---,other::r--",
        b"user::rw-,group::r--,other::s--",
        b"user::rw-,group::r--,other::---,mask::rwx,user:4294967295:r--",
        b"user::rw-,group::r--,other::---,mask::rwx,user:a:r--:1:2",
        b"user::rw-,group::r--,other::---,friend::r--",
    ],
)
def test_a_list_that_its_text_does_not_determine_stays_text(text: bytes) -> None:
    assert attribute(DEFAULT_ACL, text) == (f"{DEFAULT_ACL}{UNCONVERTED}", text)
