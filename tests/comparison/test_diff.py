"""diff: every way in which two payloads can differ, the packages, and the output."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otabuild.cli import main
from otabuild.comparison.diff import Diff, PayloadDiff, diff, diff_packages
from otabuild.comparison.diff_entries import Aspect, diff_entries
from otabuild.comparison.diff_text import aspect_text, entry_text, markdown_lines, text_lines
from otabuild.errors import InputError
from otabuild.format import annotations as ann
from otabuild.format.capabilities import format_capability, parse_capability
from otabuild.image.image import open_image
from otabuild.image.tables import FileEntry
from tests.image.products import Tree, build
from tests.packages.databases import RELEASES, STATUS, rpm_database, rpm_header

OLD: Tree = {
    "etc/kept": b"k",
    "etc/content": b"old",
    "etc/mode": (b"m", 0o644),
    "etc/link": "old-target",
    "etc/gone": b"g" * 100,
    "etc/kind": b"a file",
    "bin/su": (b"s", 0o755),
    "bin/ping": b"ping",
    "var/lib/dpkg/status": STATUS.format(libc="2.36-9").encode(),
    "lib/a": b"shared" * 30,
    "=lib/b": "lib/a",
    "lib/c": b"shared" * 30,
}
NEW: Tree = OLD | {
    "etc/content": b"newer",
    "etc/mode": (b"m", 0o600),
    "etc/link": "new-target",
    "etc/kind": None,
    "bin/su": (b"s", 0o4755),
    "etc/came": b"c",
    "var/lib/dpkg/status": STATUS.format(libc="2.36-10").encode(),
    "=lib/c": "lib/a",
}
del NEW["etc/gone"], NEW["lib/c"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    for name, hostname in (("old", "one"), ("new", "two")):
        (folder / name).mkdir()
        (folder / name / "sys.yaml").write_text(f"hostname: {hostname}\n")
    payloads = [{"ecu": "main", "rootfs": "main", "sys-config": "sys.yaml", "release-keys": ["dev", "prd"]}]
    capability = {"set": [{"path": "/bin/ping", "capability": "cap_net_raw+ep"}]}
    old = build(folder / "old", OLD, payloads=payloads, annotations={"project": {"version": "1"}})
    new = build(
        folder / "new",
        NEW,
        rootfs=capability,
        payloads=[*payloads, {"ecu": "sub", "rootfs": "main", "release-keys": ["dev"]}],
        annotations={"project": {"version": "2"}},
    )
    return old, new


@pytest.fixture(scope="module")
def found(pair: tuple[Path, Path]) -> Diff:
    with open_image(pair[0]) as old, open_image(pair[1]) as new:
        return diff(old, new)


def test_every_change_of_an_entry_is_found(found: Diff) -> None:
    changes = {
        entry.path: entry.kind
        if entry.kind != "changed"
        else {aspect.name: (aspect.before, aspect.after) for aspect in entry.aspects}
        for entry in found.payloads[0].entries
    }
    size = len(STATUS.format(libc="2.36-9"))
    assert changes == {
        "/bin/ping": {"capabilities": (None, "cap_net_raw+ep")},
        "/bin/su": {"mode": ("0755", "4755"), "setuid": ("no", "yes")},
        "/etc/came": "added",
        "/etc/content": {"content": ("3 bytes", "5 bytes")},
        "/etc/gone": "removed",
        "/etc/kind": {"type": ("file", "directory"), "content": ("6 bytes", None), "mode": ("0644", "0755")},
        "/etc/link": {"target": ("old-target", "new-target")},
        "/etc/mode": {"mode": ("0644", "0600")},
        "/lib/a": {"hard links": ("/lib/a, /lib/b", "/lib/a, /lib/b, /lib/c")},
        "/lib/b": {"hard links": ("/lib/a, /lib/b", "/lib/a, /lib/b, /lib/c")},
        "/lib/c": {"hard links": (None, "/lib/a, /lib/b, /lib/c")},
        "/var/lib/dpkg/status": {"content": (f"{size} bytes", f"{size + 1} bytes")},
    }


def test_payloads_documents_and_packages_are_compared(found: Diff) -> None:
    assert [(payload.name, payload.kind) for payload in found.payloads] == [
        ("main/dev", "changed"),
        ("main/prd", "changed"),
        ("sub/dev", "added"),
    ]
    payload = found.payloads[0]
    assert payload.packages == (("libc6:amd64", "upgraded", "2.36-9", "2.36-10"),)
    assert "-hostname: one" in payload.sys_config
    assert "+hostname: two" in payload.sys_config
    assert ("vnd.tier4.pilot-auto.project.version", "1", "2") in found.annotations
    assert payload.rootfs_size[0] != payload.rootfs_size[1]
    assert (payload.count("added"), payload.count("removed"), payload.count("changed")) == (1, 1, 10)


def test_new_privileges_are_found(found: Diff) -> None:
    assert [entry.path for entry in found.payloads[0].entries if entry.gains_privileges] == ["/bin/ping", "/bin/su"]


@pytest.mark.parametrize(
    ("has_packages", "said"),
    [(True, "1 added entry, no packages changed, "), (False, "1 added entry, rootfs ")],
)
def test_text_says_that_no_packages_changed_only_if_that_is_known(*, has_packages: bool, said: str) -> None:
    payload = PayloadDiff("main/dev", "changed", entries=diff_entries([], [entry("/x")]), has_packages=has_packages)
    assert said in "\n".join(text_lines(Diff("a", "b", (), (1, 2), (payload,))))


def test_an_image_does_not_differ_from_itself(pair: tuple[Path, Path]) -> None:
    with open_image(pair[0]) as old, open_image(pair[0]) as again:
        same = diff(old, again)
    assert {payload.kind for payload in same.payloads} == {"same"}
    assert not same.annotations


def test_one_ecu_or_an_error(pair: tuple[Path, Path]) -> None:
    with open_image(pair[0]) as old, open_image(pair[1]) as new:
        assert [payload.name for payload in diff(old, new, "sub").payloads] == ["sub/dev"]
        with pytest.raises(InputError, match=r"expected main, sub"):
            diff(old, new, "other")


def test_text_and_markdown_tell_twins_once(found: Diff) -> None:
    text = "\n".join(text_lines(found))
    assert text.count("~ /bin/su (mode: 0755 -> 4755; setuid: no -> yes)") == 1
    assert text.count("^ libc6:amd64 2.36-9 -> 2.36-10") == 1
    assert "files and packages differ as those of main/dev do" in text
    assert text.index("\npackages:") < text.index("\nmetadata:") < text.index("\nentries:")
    markdown = "\n".join(markdown_lines(found))
    assert markdown.count("~ /bin/su") == 1
    assert "differ as those of `main/dev` do" in markdown
    assert "| `sub/dev` (added) |" in markdown


@pytest.mark.parametrize(
    ("name", "before", "line"),
    [
        (ann.CREATED_AT, "1735689600", "2025-01-01T00:00:00Z -> none"),
        (ann.CREATED_AT, "soon", "soon -> none"),
        ("other", "1735689600", "1735689600 -> none"),
    ],
)
def test_a_date_is_told_as_one(name: str, before: str, line: str) -> None:
    assert aspect_text(Aspect(name, before, None)) == f"{name}: {line}"


def test_a_file_without_packages_is_not_a_twin() -> None:
    same = (PayloadDiff("main/dev", "changed", metadata=(Aspect("a", "1", "2"),)), PayloadDiff("sub/dev", "same"))
    assert "as those of" not in "\n".join(text_lines(Diff("a", "b", (), (1, 2), same)))


def test_markdown_of_many_and_hostile_names_stays_inside_its_fences() -> None:
    names = ["/a```b", "/<script>", "/line\nbreak", *(f"/{n:04}" for n in range(4000))]
    entries = diff_entries([], [entry(name) for name in sorted(names)])
    found = Diff("a", "b", (), (1, 2), (PayloadDiff("main/dev", "changed", entries=entries),))
    lines = markdown_lines(found)
    fences = [line for line in lines if line.startswith("```")]
    assert fences == ["````text", "````"]
    assert "... and 3603 more" in lines
    assert not any("\n" in line for line in lines if not line.startswith("\n>"))


def test_markdown_fits_a_comment() -> None:
    entries = diff_entries([], [entry(f"/{n:05}" + "\U0001f600" * 60) for n in range(900)])
    payloads = (PayloadDiff("main/dev", "changed", entries=entries[n:]) for n in range(4))
    lines = markdown_lines(Diff("a", "b", (), (1, 2), tuple(payloads)))
    assert 20_000 < len("\n".join(lines).encode()) <= 60_000
    assert "... and 850 more" in lines


def test_an_added_file_says_what_is_risky_about_it() -> None:
    xattrs = msgpack.packb({"security.capability": parse_capability("cap_kill+ep")})
    (change,) = diff_entries([], [entry("/x", mode=stat.S_IFREG | 0o6755, packed_xattrs=xattrs)])
    assert entry_text(change) == "+ /x (1 B, setuid, setgid, cap_kill+ep)"


def test_command(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    old, new = map(str, pair)
    assert main(["diff", old, new, "--ecu-id", "main", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [payload["payload"] for payload in value["payloads"]] == ["main/dev", "main/prd"]
    assert value["payloads"][0]["entries"][0]["differs-in"][0]["name"] == "capabilities"
    assert main(["diff", old, new, "--format", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("## ")
    assert main(["diff", old, str(new) + ".missing"]) == 1


# entries by themselves


def entry(path: str, inode: int = 1, links: int | None = None, **changes: object) -> FileEntry:
    made = FileEntry(path, inode, stat.S_IFREG | 0o644, 0, 0, links, None, None, 1, b"d" * 32, 1, b"x")
    return made._replace(**changes)  # type: ignore[arg-type]  # fields by name


def test_attributes_and_owners() -> None:
    old = entry("/a", packed_xattrs=msgpack.packb({"user.a": b"1", "user.b": b"2"}))
    new = entry("/a", uid=5, packed_xattrs=msgpack.packb({"user.b": b"3", "user.c": b""}))
    (change,) = diff_entries([old], [new])
    assert change.aspects == (
        ("owner", "0:0", "5:0"),
        ("attribute user.a", "31", None),
        ("attribute user.b", "32", "33"),
        ("attribute user.c", None, ""),
    )


@pytest.mark.parametrize(
    ("change", "aspect"),
    [
        ({"uid": 5}, ("owner", "0:0", "5:0")),
        ({"gid": 6}, ("owner", "0:0", "0:6")),
        ({"mode": stat.S_IFREG | 0o1644}, ("mode", "0644", "1644")),
        ({"digest": b"e" * 32}, ("content", "1 bytes", "1 bytes")),
        ({"packed_xattrs": msgpack.packb({"user.a": b""})}, ("attribute user.a", None, "")),
    ],
)
def test_one_change_alone_is_found(change: dict[str, Any], aspect: tuple[str, str | None, str | None]) -> None:
    (found,) = diff_entries([entry("/a")], [entry("/a", **change)])
    assert found.aspects[0] == aspect


def test_what_only_the_tables_number_differently_is_equal() -> None:
    old = [entry("/a", 7, 2, resource_id=3), entry("/b", 7, 2, resource_id=3)]
    new = [entry("/a", -9, 5, resource_id=8, contents=None), entry("/b", -9, 5, resource_id=8, contents=None)]
    assert diff_entries(old, new) == ()
    packed = [
        msgpack.packb(dict(pairs)) for pairs in ([("user.a", b""), ("user.b", b"")], [("user.b", b""), ("user.a", b"")])
    ]
    assert packed[0] != packed[1]
    assert diff_entries([entry("/a", packed_xattrs=packed[0])], [entry("/a", packed_xattrs=packed[1])]) == ()


PATHS = st.lists(st.text(alphabet="/abé\U0001f600", min_size=1, max_size=4), unique=True, max_size=12)


@given(PATHS, PATHS)
def test_the_merge_finds_what_sets_find(left: list[str], right: list[str]) -> None:
    changes = diff_entries(map(entry, sorted(left)), map(entry, sorted(right)))
    assert {c.path for c in changes if c.kind == "removed"} == set(left) - set(right)
    assert {c.path for c in changes if c.kind == "added"} == set(right) - set(left)
    assert [c.path for c in changes] == sorted(set(left) ^ set(right))


# packages


def test_downgrades_and_several_versions() -> None:
    old = {"a": ("2",), "kernel": ("5",), "same": ("1",)}
    new = {"a": ("1",), "kernel": ("5", "6"), "same": ("1",)}
    assert diff_packages("deb", old, new) == (("a", "downgraded", "2", "1"), ("kernel", "upgraded", "5", "5, 6"))


@pytest.mark.parametrize("header", [b"", b"\0" * 8 + b"x", rpm_header("a", "b", "c")[:-1], b"\xff" * 64])
def test_a_broken_package_database_is_a_note(tmp_path: Path, header: bytes) -> None:
    good = rpm_database(tmp_path / "good", rpm_header("bash", "5", "1"))
    bad = rpm_database(tmp_path / "bad", header)
    name = "usr/lib/sysimage/rpm/rpmdb.sqlite"
    with open_image(build(tmp_path / "a", {name: good})) as a, open_image(build(tmp_path / "b", {name: bad})) as b:
        payload = diff(a, b).payloads[0]
    assert payload.packages == ()
    assert len(payload.notes) == 1
    assert name in payload.notes[0]


@pytest.mark.parametrize(
    "text", ["cap_net_raw+ep", "cap_chown,cap_checkpoint_restore+eip", "cap_kill+p", "cap_kill+ei cap_chown+ep"]
)
def test_capabilities_read_as_they_are_written(text: str) -> None:
    assert parse_capability(format_capability(parse_capability(text))) == parse_capability(text)


@pytest.mark.parametrize("value", [b"", b"\1\0", b"\0" * 20, parse_capability("cap_chown+p")[:-1]])
def test_what_is_no_capability_is_shown_as_hex(value: bytes) -> None:
    assert format_capability(value) == value.hex()


def test_kernel_bsp_licenses_and_files_of_no_package(tmp_path: Path) -> None:
    """What a reviewer must not miss is named by itself; a downgrade is said loudly."""
    trees = [build(tmp_path / str(number), tree) for number, tree in enumerate(RELEASES)]
    with open_image(trees[0]) as old, open_image(trees[1]) as new:
        found = diff(old, new)
    payload = found.payloads[0]
    assert payload.system == (("BSP version", "R35.4.1", "R36.4.1"), ("kernel", "5.10.1", "5.15.2"))
    assert payload.new_licenses == ("GPL-3.0",)
    assert payload.new_unpackaged == ("/opt/surprise", "/usr/lib/modules/5.15.2/modules.dep")
    assert payload.packages == (("pypi:new", "added", None, "1"), ("pypi:old", "downgraded", "2.0", "1.0"))
    text = "\n".join(text_lines(found))
    assert "v pypi:old 2.0 -> 1.0  DOWNGRADED" in text
    assert "1 DOWNGRADED" in next(line for line in text.splitlines() if line.startswith("payload main/dev"))
    markdown = "\n".join(markdown_lines(found))
    assert all(
        word in markdown for word in ("DOWNGRADED", "System (2)", "New licenses (1)", "New files of no package (2)")
    )
    assert payload.to_value()["system"][1] == {"name": "kernel", "before": "5.10.1", "after": "5.15.2"}


def test_a_kind_of_package_that_cannot_be_read_is_not_compared(tmp_path: Path) -> None:
    """The others are."""
    metadata = "opt/lib/one-1.dist-info/METADATA"
    old: Tree = {"var/lib/dpkg/status": b"Package: a\nVersion: 1\n", metadata: b"Name: one\nVersion: 1\n"}
    new = {"var/lib/dpkg/status": b"Package: a\nPackage: b\n", metadata: b"Name: one\nVersion: 2\n"}
    with open_image(build(tmp_path / "a", old)) as a, open_image(build(tmp_path / "b", new)) as b:
        payload = diff(a, b).payloads[0]
    assert payload.packages == (("pypi:one", "upgraded", "1", "2"),)
    assert len(payload.notes) == 1
