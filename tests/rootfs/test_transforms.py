from __future__ import annotations

import stat
from collections import Counter
from pathlib import Path

import pytest

from otabuild.errors import InputError, InputUnreadableError
from otabuild.rootfs import transforms
from otabuild.rootfs.directory import DirectorySource
from otabuild.rootfs.entry import Entry
from otabuild.rootfs.patterns import Patterns
from tests.rootfs.trees import folder, make_tree, paths, regular, symlink

STUB = symlink("/etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")


def cleaned(entries: list[Entry]) -> list[Entry]:
    kept = transforms.exclude(entries, Patterns(transforms.CLEANED))
    return list(transforms.place(kept, transforms.emptied_folders()))


def test_clean_empties_and_keeps_folders() -> None:
    before = [
        folder("/"),
        folder("/dev", mode=0o700, uid=3),
        folder("/dev-x"),
        regular("/dev-x/y"),
        regular("/dev/null"),
    ]
    after = cleaned(before)
    assert after[1] == folder("/dev", mode=0o700, uid=3)
    assert paths(after) == ["/", "/dev", "/dev-x", "/dev-x/y", "/proc", "/run", "/sys", "/tmp"]
    assert {entry.path: oct(stat.S_IMODE(entry.mode)) for entry in after[4:]} == {
        "/proc": "0o755", "/run": "0o755", "/sys": "0o755", "/tmp": "0o1777",
    }  # fmt: skip


def test_clean_puts_a_folder_where_none_is() -> None:
    after = cleaned([folder("/"), symlink("/run", "/host"), regular("/tmp")])
    assert after[3:] == [folder("/run"), folder("/sys"), folder("/tmp", mode=0o1777)]


def test_clean_drops_logs_and_leavings() -> None:
    dropped = [
        "/.dockerenv", "/lost+found", "/lost+found/x", "/var/log/a.log", "/var/log/a.log.1.gz", "/var/log/apt/term.log",
        "/var/log/dmesg", "/var/log/dmesg.0", "/var/log/journal/x/system.journal", "/var/log/lastlog", "/var/log/syslog",
        "/var/log/syslog.1",
    ]  # fmt: skip
    kept = ["/etc/x.log", "/var/log/apt", "/var/log/btmp", "/var/log/journal", "/var/log/syslog2", "/var/lost+found"]
    before = [folder("/"), *(regular(path) for path in sorted(dropped + kept))]
    assert not {*kept} - {*paths(cleaned(before))}
    assert not {*dropped} & {*paths(cleaned(before))}


def resolved(root: Path) -> dict[str, Entry]:
    source = DirectorySource(str(root), one_file_system=True, prune=lambda _path: False)
    after = list(transforms.place(source.entries(), transforms.stub_resolv_conf()))
    assert paths(after) == sorted(paths(after))
    return {entry.path: entry for entry in after}


@pytest.mark.parametrize(
    "text",
    [
        b"nameserver 127.0.0.53\n",
        b"# x\nnameserver 127.0.0.1\n\toptions edns0\n nameserver ::1",
        b"nameserver 127.1.2.3",
    ],
)
def test_a_resolv_conf_of_loopback_servers_stays(tmp_path: Path, text: bytes) -> None:
    root = make_tree(tmp_path, {"etc/resolv.conf": text})
    assert resolved(root)["/etc/resolv.conf"].content is not None


@pytest.mark.parametrize(
    "node",
    [b"", b"nameserver 10.0.0.1\n", b"nameserver 127.0.0.1\nnameserver 8.8.8.8\n", b"nameserver 127.0.0.1.example\n",
     b"#nameserver 127.0.0.1\n", "../run/other", None],
)  # fmt: skip
def test_any_other_resolv_conf_becomes_the_link(tmp_path: Path, node: bytes | str | None) -> None:
    root = make_tree(tmp_path, {"etc/resolv.conf": node})
    if node is None:
        make_tree(root, {"etc/resolv.conf/below": b""})
    found = resolved(root)
    assert found["/etc/resolv.conf"] == STUB
    assert "/etc/resolv.conf/below" not in found


def test_a_missing_resolv_conf_becomes_the_link(tmp_path: Path) -> None:
    assert resolved(make_tree(tmp_path / "a", {"etc/hosts": b"", "etc.x": b""}))["/etc/resolv.conf"] == STUB
    found = resolved(make_tree(tmp_path / "b", {"usr/x": b""}))
    assert (found["/etc"], found["/etc/resolv.conf"]) == (folder("/etc"), STUB)


def test_b9_nothing_is_placed_through_a_link(tmp_path: Path) -> None:
    host = make_tree(tmp_path / "host", {"resolv.conf": b"nameserver 10.0.0.1\n"})
    root = make_tree(tmp_path / "root", {"etc": str(host), "run": str(host), "var/log": str(host)})
    found = resolved(root)
    assert "/etc/resolv.conf" not in found
    assert found["/etc"].target == str(host)
    assert (host / "resolv.conf").read_bytes() == b"nameserver 10.0.0.1\n"


def test_attributes_are_dropped_by_name_and_counted() -> None:
    entries = [
        folder("/")._replace(xattrs={"security.selinux": b"1", "user.keep": b"2"}),
        regular("/a")._replace(xattrs={"security.selinux": b"1", "user.containers.x": b"3"}),
        regular("/b"),
    ]
    dropped: Counter[str] = Counter()
    after = list(transforms.drop_xattrs(entries, ("security.selinux", "user.containers.*"), dropped, Counter()))
    assert [entry.xattrs for entry in after] == [{"user.keep": b"2"}, {}, {}]
    assert dropped == {"security.selinux": 2, "user.containers.x": 1}


def test_a_namespaced_capability_becomes_portable() -> None:
    plain = bytes.fromhex("0100000200200000000000000000000000000000")
    namespaced = bytes.fromhex("0100000300200000000000000000000000000000a0860100")
    entries = [regular("/a")._replace(xattrs={"security.capability": value}) for value in (plain, namespaced)]
    after = transforms.drop_xattrs(entries, (), Counter(), Counter())
    assert [entry.xattrs["security.capability"] for entry in after] == [plain, plain]


def test_owners() -> None:
    entries = [folder("/", uid=5), folder("/a", uid=7)]
    assert list(transforms.own(entries, None)) == entries
    assert {(entry.uid, entry.gid) for entry in transforms.own(entries, (1, 2))} == {(1, 2)}


def test_owners_of_an_ordinary_user_are_refused() -> None:
    theirs, roots = [folder("/", uid=1000)], [folder("/"), folder("/a", uid=1000)]
    assert list(transforms.check_owner(theirs, euid=0, where="tree")) == theirs
    assert list(transforms.check_owner(roots, euid=1000, where="tree")) == roots
    with pytest.raises(InputError, match="owner") as caught:
        list(transforms.check_owner(theirs, euid=1000, where="tree"))
    assert "`owner:" in caught.value.hint


def test_a_maker_may_leave_a_path_out() -> None:
    entries = [folder("/"), folder("/b"), regular("/b/x"), regular("/b-"), regular("/c")]
    makers: dict[str, transforms.Maker] = dict.fromkeys(("/a", "/b", "/z"), lambda _entry: None)
    assert paths(transforms.place(entries, makers)) == ["/", "/b-", "/c"]


def test_a_user_without_a_name_is_told_by_number() -> None:
    with pytest.raises(InputUnreadableError, match="cannot be read by user 4000000000"):
        list(transforms.check_readable([folder("/")], {("/tree", "/etc/shadow")}, euid=4_000_000_000))
