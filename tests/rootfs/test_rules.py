from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from otabuild.errors import InputError
from otabuild.format.capabilities import parse_capability
from otabuild.rootfs.gate import as_tree
from otabuild.rootfs.set_rules import SetRule, apply_rules
from tests.rootfs.trees import IS_ROOT, folder, regular, symlink

TREE = [folder("/"), regular("/a", link="/a"), regular("/b", link="/a"), regular("/c"), symlink("/d", "a")]

VECTORS = {
    "cap_net_raw+ep": "0100000200200000000000000000000000000000",
    "cap_net_raw=p": "0000000200200000000000000000000000000000",
    "CAP_NET_ADMIN,cap_net_raw+eip": "0100000200300000003000000000000000000000",
    "cap_chown+ep cap_bpf+eip": "01000002010000000000000080000000" + "80000000",
    "cap_chown=p cap_kill=i": "0000000201000000200000000000000000000000",
    "=ep": "01000002ffffffff00000000ff01000000000000",
}


@pytest.mark.parametrize("text", VECTORS)
def test_capability_texts(text: str) -> None:
    assert parse_capability(text).hex() == VECTORS[text]


@pytest.mark.root
@pytest.mark.skipif(not IS_ROOT, reason="needs root")
@pytest.mark.parametrize("text", VECTORS)
def test_the_system_tool_sets_the_same_value(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    try:
        subprocess.run(["setcap", text, path], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no setcap here")
    assert parse_capability(text) == os.getxattr(path, "security.capability")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "net_raw",
        "cap_net_raw+",
        "cap_nonsense+ep",
        "cap_chown+ep cap_kill+p",
        "cap_chown-e",
        "x=ep",
        "cap_chown,=p",
    ],
)
def test_bad_capability_texts(text: str) -> None:
    with pytest.raises(InputError, match="capability"):
        parse_capability(text)


def test_rules_change_their_path_only() -> None:
    rules = [
        SetRule("/c", capability="cap_net_raw+ep", mode=0o4750),
        SetRule("/c", owner=(1, 2)),
        SetRule("/d", owner=(3, 4)),
    ]
    after = list(as_tree(apply_rules(TREE, rules)))
    assert after[:3] == TREE[:3]
    c, d = after[3:]
    assert (oct(c.mode), c.uid, c.gid, list(c.xattrs)) == ("0o104750", 1, 2, ["security.capability"])
    assert d == TREE[4]._replace(uid=3, gid=4)


def test_a_rule_for_one_of_several_links_is_refused() -> None:
    with pytest.raises(InputError, match="hard links of one inode differ in mode"):
        list(as_tree(apply_rules(TREE, [SetRule("/b", mode=0o600)])))
    rules = [SetRule("/b", mode=0o600), SetRule("/a", mode=0o600)]
    assert [oct(entry.mode) for entry in as_tree(apply_rules(TREE, rules))][1:3] == ["0o100600"] * 2


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (SetRule("/nowhere", mode=0o600), "/nowhere: a `set` rule names a path"),
        (SetRule("/d", mode=0o600), "a symlink has no mode"),
        (SetRule("/d", capability="cap_kill+ep"), "only a regular file"),
        (SetRule("/", capability="cap_kill+ep"), "only a regular file"),
    ],
)
def test_rules_that_cannot_be_applied_are_refused(rule: SetRule, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(apply_rules(TREE, [rule]))
