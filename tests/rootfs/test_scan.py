from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from otabuild.errors import InputError, InputUnreadableError, MisplacedEntryError, UnsupportedEntryError
from otabuild.rootfs import tar_source
from otabuild.rootfs.content import with_digest
from otabuild.rootfs.entry import Content, Entry
from otabuild.rootfs.inputs import DirectoryInput, Input, OciInput, TarInput
from otabuild.rootfs.scan import RootfsOptions, fingerprint, newest_archive, release_files, scan
from otabuild.rootfs.set_rules import SetRule
from otabuild.rootfs.tar_source import read_chunks
from tests.rootfs.layouts import Layout, sha
from tests.rootfs.tars import END, member
from tests.rootfs.trees import IS_ROOT, Node, as_nobody, make_tree, nasty_tree, paths
from tests.shared import TOOLS


def options(*roots: Path, overlays: Iterable[Path] = (), exclude: tuple[str, ...] = ()) -> RootfsOptions:
    return RootfsOptions(
        sources=tuple(DirectoryInput(str(root), (0, 0)) for root in roots),
        overlays=tuple(DirectoryInput(str(root), (0, 0)) for root in overlays),
        exclude=exclude,
    )


def scanned(chosen: RootfsOptions) -> dict[str, Entry]:
    return {entry.path: entry for entry in scan(chosen, euid=os.geteuid(), work="unused").entries}


def snapshot(root: Path) -> list[tuple[object, ...]]:
    return [
        (where, *(getattr(os.lstat(os.path.join(where, name)), f) for f in ("st_mode", "st_mtime_ns", "st_ctime_ns", "st_ino")))
        for where, folders, files in os.walk(root)
        for name in sorted([*folders, *files])
    ]  # fmt: skip


def test_a_folder_of_an_overlay_or_later_source_replaces_no_link(tmp_path: Path) -> None:
    base = make_tree(tmp_path / "base", {"lib": "usr/lib", "usr/lib/ld.so": b"1"})
    over = make_tree(tmp_path / "over", {"lib/modules/x": b"2"})
    other = make_tree(tmp_path / "other", {"etc/x": b"3"})
    for chosen in options(base, overlays=[over]), options(base, over), options(base, other, overlays=[over]):
        with pytest.raises(InputError, match="move its entries to /usr/lib") as caught:
            scanned(chosen)
        assert caught.value.where == f"{base}, {over}: /lib"
    found = scanned(replace(options(base, overlays=[over]), exclude=("/lib",)))
    assert found["/lib"].is_directory


LINK, BELOW = member(b"lib", kind=b"2", link=b"usr/lib"), member(b"lib/x")


@pytest.mark.parametrize("files", [[LINK + BELOW], [LINK, BELOW], [LINK, b"", BELOW], [b"", LINK + BELOW]])
@pytest.mark.parametrize("kind", ["archives", "layers", "standard input"])
def test_what_holds_a_link_and_a_file_below_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, files: list[bytes]
) -> None:
    tars = [content + END for content in files]
    concerned = [content for content in tars if content != END]
    inputs: tuple[Input, ...]
    if kind == "layers":
        layout = Layout(tmp_path / "layout")
        inputs = (OciInput(str(layout.index(layout.image(*tars)))),)
        names = [f"{layout.root}: layer {sha(content)[7:]}" for content in concerned]
    else:
        paths = [tmp_path / f"{number}.tar" for number, _ in enumerate(tars)]
        for path, content in zip(paths, tars, strict=True):
            path.write_bytes(content)
        inputs = tuple(TarInput(str(path)) for path in paths)
        names = [str(path) for path, content in zip(paths, tars, strict=True) if content in concerned]
    if kind == "standard input":
        monkeypatch.setattr(tar_source, "read_chunks", lambda fd: read_chunks(fd) if fd else iter([tars[0]]))
        inputs = (TarInput("-"), *inputs[1:])
        names = ["standard input", *(name for name in names if name != f"{tmp_path}/0.tar")]
    with pytest.raises(MisplacedEntryError) as caught:
        list(scan(RootfsOptions(inputs, clean=False), euid=os.geteuid(), work=str(tmp_path / "work")).entries)
    assert caught.value.where.startswith(", ".join(names) + ": /lib")


@pytest.mark.root
@pytest.mark.skipif(not IS_ROOT, reason="needs root to mount")
@pytest.mark.parametrize(("excluded", "fine"), [("/data", True), ("dat*", True), ("/data/**", False)])
def test_b5_a_mount_that_is_excluded_itself(tmp_path: Path, excluded: str, fine: bool) -> None:
    """Not if its directory stays: owner and mode would be those of the mounted file system."""
    root = make_tree(tmp_path / "root", {"data": None, "x": b"1"})
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root / "data"], check=False, capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        chosen = replace(options(root), exclude=(excluded,), clean=False, stub_resolv_conf=False)
        if fine:
            assert sorted(scanned(chosen)) == ["/", "/x"]
            fingerprint(chosen, work="unused")
        else:
            with pytest.raises(InputError, match="mounted inside"):
                scanned(chosen)
    finally:
        subprocess.run(["umount", root / "data"], check=True)


def test_an_overlay_brings_the_metadata_of_its_folders(tmp_path: Path) -> None:
    base, over = make_tree(tmp_path / "base", {"etc/a": b"1"}), make_tree(tmp_path / "over", {"etc/b": b"2"})
    os.chmod(over / "etc", 0o700)
    assert oct(scanned(options(base, overlays=[over]))["/etc"].mode) == "0o40700"


def test_the_source_is_never_touched(tmp_path: Path) -> None:
    root = nasty_tree(tmp_path / "root")
    make_tree(root, {"tmp/x": b"", "var/log/a.log": b"", "etc/resolv.conf": b"nameserver 8.8.8.8\n"})
    before = snapshot(root)
    found = scanned(options(root))
    assert snapshot(root) == before
    assert "/tmp/x" not in found
    assert "/var/log/a.log" not in found
    assert found["/etc/resolv.conf"].is_symlink


def test_overlays_lie_over_what_was_prepared(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root", {"etc/hostname": b"old", "usr/lib/a": b"a", "opt/x": b"", "tmp/dropped": b""})
    overlay = make_tree(
        tmp_path / "overlay",
        {"etc/hostname": b"newer", "etc/resolv.conf": b"nameserver 8.8.8.8\n", "opt": "elsewhere", "tmp/kept": b""},
    )
    with pytest.raises(InputError, match=r"/opt: .* which would be lost"):
        scanned(options(root, overlays=[overlay]))
    found = scanned(options(root, overlays=[overlay], exclude=("/opt",)))
    assert found["/etc/hostname"].content is not None
    assert found["/etc/hostname"].content.size == 5
    assert found["/etc/resolv.conf"].is_regular
    assert found["/opt"].target == "elsewhere"
    assert "/opt/x" not in found
    assert "/usr/lib/a" in found
    assert "/tmp/kept" in found
    assert "/tmp/dropped" not in found


def test_exclude_patterns_prune_and_report(tmp_path: Path) -> None:
    root = make_tree(tmp_path, {"var/cache/apt/a/b": b"", "a.pyc": b"", "keep": b""})
    chosen = replace(options(root), clean=False, stub_resolv_conf=False)
    result = scan(replace(chosen, exclude=("/var/cache/apt/**", "*.pyc", "/nothing")), euid=os.geteuid(), work="unused")
    assert paths(result.entries) == ["/", "/keep", "/var", "/var/cache", "/var/cache/apt"]
    assert result.notes.unmatched_patterns == ["/nothing"]


def test_unsupported_entries_of_cleaned_folders_do_not_matter(tmp_path: Path) -> None:
    root = make_tree(tmp_path, {"run": None, "srv": None})
    os.mkfifo(root / "run/fifo")
    assert "/run" in scanned(options(root))
    os.mkfifo(root / "srv/fifo")
    with pytest.raises(UnsupportedEntryError, match="/srv/fifo"):
        scanned(options(root))
    result = scan(replace(options(root), unsupported="warn"), euid=os.geteuid(), work="unused")
    assert "/srv/fifo" not in paths(result.entries)
    assert result.notes.left_out == ["/srv/fifo (fifo)"]


def test_the_fingerprint_follows_options_sources_and_overlays(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root", {"a": b"1", "tmp/x": b""})
    overlay = make_tree(tmp_path / "overlay", {"b": b"1"})
    chosen = options(root, overlays=[overlay])
    seen = [fingerprint(chosen, work="unused")]
    assert fingerprint(chosen, work="unused") == seen[0]
    seen.append(fingerprint(replace(chosen, exclude=("x",)), work="unused"))
    make_tree(root, {"a": b"2"})
    seen.append(fingerprint(chosen, work="unused"))
    make_tree(overlay, {"b": b"2"})
    seen.append(fingerprint(chosen, work="unused"))
    assert len(set(seen)) == 4
    make_tree(root, {"tmp/x": b"what is cleaned does not matter"})
    assert fingerprint(chosen, work="unused") == seen[-1]


def test_an_ordinary_users_tree_needs_an_owner(tmp_path: Path) -> None:
    root = make_tree(tmp_path, {"a": b""})
    if IS_ROOT:
        os.chown(root, 1000, 1000)
    keep = RootfsOptions(sources=(DirectoryInput(str(root)),))
    with pytest.raises(InputError, match="ordinary user"):
        list(scan(keep, euid=1000, work="unused").entries)
    assert {entry.uid for entry in scan(options(root), euid=1000, work="unused").entries} == {0}
    with pytest.raises(InputError, match="ordinary user"):
        list(scan(replace(options(tmp_path), overlays=keep.sources), euid=1000, work="unused").entries)


def test_rules_and_attribute_policy_hold_for_overlays(tmp_path: Path) -> None:
    root, overlay = make_tree(tmp_path / "root", {"a": b""}), make_tree(tmp_path / "overlay", {"b": b""})
    os.setxattr(overlay / "b", "user.containers.x", b"1")
    result = scan(
        replace(options(root, overlays=[overlay]), rules=(SetRule("/b", mode=0o600, owner=(7, 8)),)),
        euid=os.geteuid(),
        work="unused",
    )
    b = {entry.path: entry for entry in result.entries}["/b"]
    assert (b.mode, b.uid, b.gid, dict(b.xattrs)) == (stat.S_IFREG | 0o600, 7, 8, {})
    assert result.notes.dropped_xattrs == Counter({"user.containers.x": 1})


def test_the_newest_archive_counts_in_sources_and_overlays(tmp_path: Path) -> None:
    times = {"old.tar": 2 * 10**18, "new.tar": 2 * 10**18 + 1}  # after all times of change
    for name, time in times.items():
        (tmp_path / name).write_bytes(END)
        os.utime(tmp_path / name, ns=(0, time))
    old, new = (TarInput(str(tmp_path / name)) for name in times)
    tree = DirectoryInput(str(tmp_path))
    assert newest_archive(RootfsOptions((tree, old), overlays=(new,))) == times["new.tar"]
    assert newest_archive(RootfsOptions((tree, new), overlays=(old,))) == times["new.tar"]
    assert newest_archive(RootfsOptions((tree,))) == newest_archive(RootfsOptions(())) == 0


def test_release_files_are_found_through_the_link(tmp_path: Path) -> None:
    nodes: dict[str, Node] = {
        "etc/os-release": "../usr/lib/os-release",
        "usr/lib/os-release": b"NAME=x\n",
        "etc/nv_tegra_release": b"# R35",
    }
    found = release_files(scanned(options(make_tree(tmp_path / "a", nodes))).values())
    assert found == (b"NAME=x\n", b"# R35")
    plain = make_tree(tmp_path / "b", {"etc/os-release": b"NAME=y\n"})
    assert release_files(scanned(options(plain)).values()) == (b"NAME=y\n", None)
    dangling = make_tree(tmp_path / "c", {"etc/os-release": "/nowhere"})
    assert release_files(scanned(options(dangling)).values()) == (None, None)


def test_what_a_user_may_not_read_is_told_at_once(tmp_path: Path) -> None:
    """Folders and files of all inputs, except those left out, replaced, or readable although the mode looks strict."""
    closed = {"root/x", "gone/x", "tmp/x", "etc/shadow", "etc/gshadow", "etc/own", "etc/replaced", "cache/x", "marked"}
    root = make_tree(tmp_path / "root", {**dict.fromkeys(closed, b"x"), "etc/open": b"x"})
    over = make_tree(tmp_path / "over", {"etc/replaced": b"x", "secret/x": b"x"})
    os.setxattr(root / "marked", "user.x", b"1")
    for path in closed:
        place = (root / path).parent if path.endswith("/x") else root / path
        os.chmod(place, 0o000)
    os.chmod(over / "secret", 0o000)
    chosen = replace(options(root, overlays=[over]), exclude=("/gone", "/cache/**"))
    euid = 65534 if IS_ROOT else os.geteuid()
    os.chmod(root / "etc/own", 0o400)
    if IS_ROOT:
        os.chown(root / "etc/own", euid, -1)
    with as_nobody(tmp_path):
        fingerprint(chosen, work="unused")
        with pytest.raises(InputUnreadableError) as caught:
            list(scan(chosen, euid=euid, work="unused").entries)
        for path in ("root", "marked", "etc/shadow", "etc/gshadow"):
            chosen = replace(chosen, exclude=(*chosen.exclude, f"/{path}"))
        with pytest.raises(InputUnreadableError, match="1 entry cannot"):
            list(scan(chosen, euid=euid, work="unused").entries)
    for closed_path in (*root.rglob("*"), *over.rglob("*")):
        closed_path.chmod(0o755)
    assert re.fullmatch("5 entries cannot be read by user .*", caught.value.what)
    assert caught.value.observed == "/etc/gshadow, /etc/shadow, /marked, /root, /secret"
    assert caught.value.where == f"{over}, {root}"
    assert "source: {tar: rootfs.tar}" in caught.value.hint


def test_of_many_that_a_user_may_not_read_some_are_named(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root", {f"{n:02}": b"x" for n in range(23)})
    for path in root.iterdir():
        path.chmod(0o000)
    with as_nobody(tmp_path), pytest.raises(InputUnreadableError, match="23 entries") as caught:
        list(scan(options(root), euid=65534, work="unused").entries)
    assert caught.value.observed is not None
    assert caught.value.observed.endswith("/18, /19, and 3 more")


def test_b16_an_empty_rootfs(tmp_path: Path) -> None:
    assert paths(scanned(options(tmp_path)).values()) == [
        "/", "/dev", "/etc", "/etc/resolv.conf", "/proc", "/run", "/sys", "/tmp",
    ]  # fmt: skip
    bare = replace(options(tmp_path), clean=False, stub_resolv_conf=False)
    assert paths(scanned(bare).values()) == ["/"]


@pytest.mark.root
@pytest.mark.skipif(not IS_ROOT or not TOOLS.is_dir(), reason="needs root and the generator of test trees")
def test_the_nasty_tree_of_the_generator(tmp_path: Path) -> None:
    root = tmp_path / "nasty"
    subprocess.run([sys.executable, TOOLS / "make_rootfs.py", "nasty", root], check=True)
    found = scanned(replace(RootfsOptions((DirectoryInput(str(root)),)), clean=False, stub_resolv_conf=False))
    expected = {"/"} | {
        "/" + str(Path(where, name).relative_to(root))
        for where, folders, files in os.walk(root)
        for name in folders + files
    }
    assert found.keys() == expected
    assert found["/usr/lib/whiteout"].link == found["/opt/whiteout-link"].link is not None
    assert found["/opt"].xattrs == {"trusted.overlay.opaque": b"y"}


@pytest.mark.parametrize(
    ("nodes", "exclude", "message"),
    [
        ({}, (), "root: the source is empty"),
        ({"etc/hostname": b"1"}, ("/**",), "the rootfs is empty"),
        ({"etc/hostname": b"1", "usr/": None}, ("etc", "/usr"), "the rootfs is empty"),
        ({".dockerenv": b"1"}, (), "the rootfs is empty"),  # `clean` takes it
        ({"rootfs/etc/hostname": b"1"}, (), "one folder further down"),
        ({"a/usr/bin/x": b"1", "b/etc/x": b"1"}, (), "/etc or /usr in /a, /b"),
    ],
)
def test_what_cannot_be_meant_as_a_system_is_refused(
    tmp_path: Path, nodes: dict[str, bytes | None], exclude: tuple[str, ...], message: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name, content in nodes.items():
        if content is None:
            (root / name).mkdir(parents=True)
        else:
            make_tree(root, {name: content})
    chosen = options(root, exclude=exclude)
    with pytest.raises(InputError, match=message) as caught:
        scanned(replace(chosen, whole=True))
    assert "partial: true" in caught.value.hint
    scanned(chosen)


@pytest.mark.parametrize("empty", ["a source", "an overlay", "an archive"])
def test_one_of_several_sources_is_not_empty(tmp_path: Path, empty: str) -> None:
    full = DirectoryInput(str(make_tree(tmp_path / "full", {"etc/x": b"1"})), owner=(0, 0))
    other = make_tree(tmp_path / "other", {})
    found: Input = DirectoryInput(str(other), owner=(0, 0))
    if empty == "an archive":
        subprocess.run(["tar", "-cf", tmp_path / "other.tar", "-C", other, "."], check=True)
        found = TarInput(str(tmp_path / "other.tar"), owner=(0, 0))
    chosen = RootfsOptions((full, found), whole=True)
    if empty == "an overlay":
        chosen = RootfsOptions((full,), (found,), whole=True)
    work = str(tmp_path / "work")
    with pytest.raises(InputError, match=rf"{found.location}: the source is empty[^$]*partial: true"):
        list(scan(chosen, euid=os.geteuid(), work=work).entries)
    list(scan(replace(chosen, whole=False), euid=os.geteuid(), work=work).entries)


@pytest.mark.parametrize(
    ("name", "missing"), [("etc/x", []), ("usr/bin/x", []), ("boot/x", ["/etc", "/usr"]), ("x", ["/etc", "/usr"])]
)
def test_a_tree_without_both_folders_of_systems_is_noted(tmp_path: Path, name: str, missing: list[str]) -> None:
    result = scan(replace(options(make_tree(tmp_path / "root", {name: b"1"})), whole=True), euid=0, work="unused")
    list(result.entries)
    assert result.notes.missing == missing


def test_a_content_with_several_names_is_hashed_once_where_times_hide_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_tree(tmp_path / "root", {"etc/one": b"1" * 100, "etc/other": b"2" * 100})
    for name in "two", "three":
        os.link(root / "etc/one", root / "etc" / name)
    monkeypatch.setattr("otabuild.rootfs.scan.hides_changes", lambda path, **_kwargs: path == str(root))
    hashed: list[str] = []

    def counted(content: Content) -> Content:
        hashed.append(content.host_path)
        return with_digest(content)

    monkeypatch.setattr("otabuild.rootfs.scan.with_digest", counted)
    found = scanned(options(root))
    digests = {path: entry.content.digest for path, entry in found.items() if entry.content is not None}
    one, other = (hashlib.sha256(text * 100).digest() for text in (b"1", b"2"))
    assert digests == {"/etc/one": one, "/etc/other": other, "/etc/three": one, "/etc/two": one}
    assert sorted(hashed) == [f"{root}/etc/one", f"{root}/etc/other"]
