from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from otabuild.errors import InputChangedError, InputError, InputUnreadableError
from otabuild.rootfs import directory, mounts
from otabuild.rootfs.content import load_content
from otabuild.rootfs.directory import DirectorySource
from otabuild.rootfs.entry import Content, Entry
from tests.leaks import descriptors
from tests.rootfs.trees import IS_ROOT, as_nobody, make_tree, nasty_tree, paths

needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root")


def source(root: Path, *, one_file_system: bool = True) -> DirectorySource:
    return DirectorySource(str(root), one_file_system=one_file_system, prune=lambda _path: False)


def entries(root: Path) -> dict[str, Entry]:
    return {entry.path: entry for entry in source(root).entries()}


def test_path_order_is_the_byte_order_of_whole_paths(tmp_path: Path) -> None:
    nasty_tree(tmp_path)
    found = paths(source(tmp_path).entries())
    assert found == sorted(found, key=str.encode)
    assert [path for path in found if path.startswith("/a") and "link" not in path] == [
        "/a", "/a-b", "/a-b/y", "/a.c", "/a/x",
    ]  # fmt: skip


def test_every_entry_is_what_lstat_says(tmp_path: Path) -> None:
    nasty_tree(tmp_path)
    expected = {"/": tmp_path.lstat()}
    for where, folders, files in os.walk(tmp_path):
        for name in folders + files:
            path = Path(where, name)
            expected["/" + str(path.relative_to(tmp_path))] = path.lstat()
    found = entries(tmp_path)
    assert found.keys() == expected.keys()
    for name, entry in found.items():
        status = expected[name]
        assert (entry.mode, entry.uid, entry.gid) == (status.st_mode, status.st_uid, status.st_gid)
        host = str(tmp_path) + name
        assert entry.xattrs == {
            n: os.getxattr(host, n, follow_symlinks=False) for n in os.listxattr(host, follow_symlinks=False)
        }
        assert entry.target == (os.readlink(host) if entry.is_symlink else None)
        if entry.content is not None:
            assert load_content(entry.content) == Path(host).read_bytes()
        assert (entry.content is not None) == entry.is_regular == stat.S_ISREG(status.st_mode)


def test_b6_hard_links_are_known_by_device_and_inode(tmp_path: Path) -> None:
    nasty_tree(tmp_path / "tree")
    os.link(tmp_path / "tree/a.c", tmp_path / "outside")
    groups = defaultdict(set)
    for entry in source(tmp_path / "tree").entries():
        if entry.link is not None:
            groups[entry.link].add(entry.path)
    expected = [{f"/a/link-{n}-b", f"/opt/link-{n}-a", f"/var/link-{n}"} for n in (0, 5, 5000)]
    assert sorted(map(sorted, groups.values())) == sorted(
        map(sorted, [*expected, {"/a.c"}, {"/opt/abs-link", "/usr/lib/abs"}])
    )


def test_b8_links_are_named_by_path_not_by_inode(tmp_path: Path) -> None:
    for name in "one", "two":
        make_tree(tmp_path / name, {f"pad-{name}": b"", "b": b"same"})
        os.link(tmp_path / name / "b", tmp_path / name / "c")
    assert entries(tmp_path / "one")["/c"].link == entries(tmp_path / "two")["/c"].link == "/b"


@pytest.fixture
def deep_path(tmp_path: Path) -> Iterator[Path]:
    """A folder for trees that are too deep for Python's own rmtree."""
    yield tmp_path
    subprocess.run(["rm", "-rf", *tmp_path.iterdir()], check=True)


def test_depth_beyond_path_max_of_the_host_and_few_descriptors(deep_path: Path) -> None:
    tmp_path = deep_path
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    leaf = os.open("leaf", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
    os.write(leaf, b"deep down")
    os.close(leaf)
    os.close(fd)
    before = len(descriptors())
    found = [(entry, len(descriptors())) for entry in source(tmp_path).entries()]
    last = found[-1][0]
    assert last.path == "/d" * 2000 + "/leaf"
    assert last.content is not None
    assert len(last.content.host_path) > 4000
    assert load_content(last.content) == b"deep down"
    assert max(count for _, count in found) < before + 20
    assert source(tmp_path).fingerprint() == source(tmp_path).fingerprint()


def test_a_content_below_a_host_path_longer_than_path_max_is_read(deep_path: Path) -> None:
    tmp_path = deep_path
    deep = Path(*["h" * 200] * 19)
    top = tmp_path
    for part in (*deep.parts, "r" * 200, "s" * 200):
        os.mkdir(part, dir_fd=(fd := _open_steps(tmp_path, top)))
        os.close(fd)
        top = top / part
    fd = _open_steps(tmp_path, top)
    leaf = os.open("leaf", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
    os.write(leaf, b"x" * 100)
    os.close(leaf)
    os.close(fd)
    root = tmp_path / deep.parts[0] / deep.parts[1] / deep.parts[2]
    last = list(source(root).entries())[-1]
    assert last.content is not None
    assert len(last.content.host_path) > 4096
    assert load_content(last.content) == b"x" * 100


def test_a_symlink_has_no_attributes_of_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    os.setxattr(tmp_path / "file", "user.x", b"of the file")
    assert entries(tmp_path)["/link"].xattrs == {}
    with suppress(PermissionError):  # Linux lets only root give a symlink any
        os.setxattr(tmp_path / "link", "trusted.x", b"of the link", follow_symlinks=False)
        os.setxattr(tmp_path / "file", "trusted.x", b"of the file")
        assert entries(tmp_path)["/link"].xattrs == {"trusted.x": b"of the link"}


def test_a_long_host_path_may_lead_through_folders_that_can_only_be_entered(
    deep_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(deep_path)
    names = ["h" * 200] * 21
    for name in names:
        os.mkdir(name)
        os.chdir(name)
    Path("leaf").write_bytes(b"text")
    os.chdir(deep_path)
    content = Content("/".join([*names, "leaf"]), 0, 4, None, hashlib.sha256(b"text").digest())
    deep_path.chmod(0o111)
    try:
        with as_nobody(deep_path):
            assert load_content(content) == b"text"
    finally:
        deep_path.chmod(0o755)


def _open_steps(base: Path, path: Path) -> int:
    fd = os.open(base, os.O_RDONLY)
    for part in path.relative_to(base).parts:
        below = os.open(part, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    return fd


@pytest.mark.root
@needs_root
def test_b3_special_files_are_streamed_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tmp_path / "loop", stat.S_IFBLK | 0o660, os.makedev(7, 0))
    os.mknod(tmp_path / "whiteout", stat.S_IFCHR, os.makedev(0, 0))
    found = entries(tmp_path)
    assert {path: entry.target for path, entry in found.items()} == {
        "/": None, "/fifo": None, "/socket": None, "/null": "1:3", "/loop": "7:0", "/whiteout": None,
    }  # fmt: skip


def test_b4_names_that_are_not_utf8_are_streamed(tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/d\xff")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xff/f")).write_bytes(b"1")
    os.symlink(b"\xfe", os.fsencode(tmp_path) + b"/link")
    found = entries(tmp_path)
    assert sorted(found) == ["/", "/d\udcff", "/d\udcff/f", "/link"]
    assert found["/link"].target == "\udcfe"


def test_b2_an_unreadable_directory_is_named(tmp_path: Path) -> None:
    make_tree(tmp_path, {"open/x": b"", "closed/y": b""})
    os.chmod(tmp_path / "closed", 0)
    with as_nobody(tmp_path):
        for read in (lambda: list(source(tmp_path).entries()), source(tmp_path).fingerprint):
            with pytest.raises(InputUnreadableError, match="closed"):
                read()
        pruned = DirectorySource(str(tmp_path), one_file_system=True, prune=lambda path: path == "/closed")
        assert paths(pruned.entries()) == ["/", "/closed", "/open", "/open/x"]
    os.chmod(tmp_path / "closed", 0o755)


@pytest.mark.parametrize("call", ["scandir", "readlink", "listxattr", "getxattr"])
def test_b2_an_io_error_is_no_omission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    make_tree(tmp_path, {"d/link": "target", "d/file": b""})
    os.setxattr(tmp_path / "d/file", "user.x", b"1")

    def broken(*_args: object, **_options: object) -> object:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, broken)
    with pytest.raises(InputUnreadableError, match="Input/output error"):
        list(source(tmp_path).entries())


def test_b9_a_directory_swapped_for_a_link_is_not_followed(tmp_path: Path) -> None:
    make_tree(tmp_path / "outside", {"secret": b"secret"})
    root = make_tree(tmp_path / "root", {"a": b"", "b/c": b""})
    stream = source(root).entries()
    assert [next(stream).path for _ in range(3)] == ["/", "/a", "/b"]
    (root / "b").rename(tmp_path / "moved")
    (root / "b").symlink_to(tmp_path / "outside")
    with pytest.raises(InputChangedError, match="/b: changed"):
        list(stream)


def test_b9_a_parent_swapped_for_a_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_tree(tmp_path / "root", {"b/c/d": b""})
    make_tree(tmp_path / "outside", {"c/secret": b"secret"})
    stream = source(root).entries()
    assert [next(stream).path for _ in range(3)] == ["/", "/b", "/b/c"]
    (root / "b").rename(tmp_path / "moved")
    (root / "b").symlink_to(tmp_path / "outside")
    with monkeypatch.context() as patch:  # removing the folder of the test lists it, too
        patch.setattr(os, "scandir", lambda _fd: pytest.fail("listed what lies outside"))
        with pytest.raises(InputChangedError, match="/b/c: changed"):
            list(stream)


def test_b1_an_entry_added_while_the_tree_is_walked_is_an_error(tmp_path: Path) -> None:
    make_tree(tmp_path, {"a": b"", "d/x": b""})
    stream = source(tmp_path).entries()
    next(stream)
    next(stream)
    (tmp_path / "d/new").write_bytes(b"")
    with pytest.raises(InputChangedError, match="/d: changed"):
        list(stream)


def test_b1_an_entry_added_while_its_directory_is_listed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tree(tmp_path, {"a": b""})
    stream = source(tmp_path).entries()
    next(stream)
    listxattr = os.listxattr

    def racing(path: str, *, follow_symlinks: bool) -> list[str]:
        (tmp_path / "new").write_bytes(b"")
        return listxattr(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "listxattr", racing)
    with pytest.raises(InputChangedError, match="changed while the tree was read"):
        list(stream)


def _rewrite(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"other")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _relink(path: Path) -> None:
    path.unlink()
    path.symlink_to("b")


CHANGES: dict[str, Callable[[Path], object]] = {
    "same size and mtime": lambda root: _rewrite(root / "d/file"),
    "mode": lambda root: os.chmod(root / "d/file", 0o600),
    "attribute": lambda root: os.setxattr(root / "d/file", "user.x", b"1"),
    "link": lambda root: _relink(root / "d/link"),
    "added": lambda root: (root / "d/new").mkdir(),
    "removed": lambda root: (root / "d/file").unlink(),
    "renamed": lambda root: (root / "d/file").rename(root / "d/file2"),
    "top": lambda root: os.chmod(root, 0o700),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_sees_every_change(tmp_path: Path, change: str) -> None:
    root = make_tree(tmp_path / "root", {"d/file": b"bytes", "d/link": "a", "e": None})
    before = source(root).fingerprint()
    assert source(root).fingerprint() == before
    CHANGES[change](root)
    assert source(root).fingerprint() != before


def test_a_root_that_is_no_directory_is_named(tmp_path: Path) -> None:
    make_tree(tmp_path, {"file": b""})
    for name in "file", "missing":
        with pytest.raises(InputError, match=name):
            next(source(tmp_path / name).entries())


def test_b16_an_empty_tree_has_its_root_only(tmp_path: Path) -> None:
    assert paths(source(tmp_path).entries()) == ["/"]


def test_a_mount_elsewhere_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = tmp_path / "mounts"
    listed.write_bytes(b"1 0 0:1 / / rw - x x rw\n2 1 0:2 / /a\rb rw - x x rw\n3 1 0:3 / /c\\040d rw - x x rw\n")
    real = open
    monkeypatch.setattr("builtins.open", lambda _path, mode: real(listed, mode))
    assert [mount.point for mount in mounts.mounts()] == ["/", "/a\rb", "/c d"]


@pytest.mark.root
@needs_root
def test_b5_a_mount_inside_is_an_error_that_names_it(tmp_path: Path) -> None:
    make_tree(tmp_path, {"mounts/a b/x": b"", "file": b"1"})
    if subprocess.run(
        ["mount", "-t", "tmpfs", "tmpfs", tmp_path / "mounts/a b"], check=False, capture_output=True
    ).returncode:
        pytest.skip("may not mount")
    try:
        (tmp_path / "mounts/a b/inside").write_bytes(b"")
        for read in (lambda: list(source(tmp_path).entries()), source(tmp_path).fingerprint):
            with pytest.raises(InputError, match="mounted inside") as caught:
                read()
            assert str(tmp_path / "mounts/a b") in str(caught.value)
        assert "/mounts/a b/inside" in paths(source(tmp_path, one_file_system=False).entries())
        above = DirectorySource(str(tmp_path), one_file_system=True, prune=lambda path: path == "/mounts")
        assert paths(above.entries()) == ["/", "/file", "/mounts"]
        itself = DirectorySource(str(tmp_path), one_file_system=True, prune=lambda path: path == "/mounts/a b")
        with pytest.raises(InputError, match="mounted inside"):
            list(itself.entries())
        dropped = DirectorySource(
            str(tmp_path),
            one_file_system=True,
            prune=lambda path: path == "/mounts/a b",
            drop=lambda path: path == "/mounts/a b",
        )
        assert "/mounts/a b" in paths(dropped.entries())
    finally:
        subprocess.run(["umount", tmp_path / "mounts/a b"], check=True)


def test_a_tree_without_proc_is_told_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exists = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: path != "/proc/self/fd" and exists(path))
    with pytest.raises(InputError, match="needs /proc, which is not mounted") as refused:
        next(source(tmp_path).entries())
    assert "source: {tar: …}" in refused.value.hint


def test_times_that_no_64_bits_hold_are_in_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems such as tmpfs keep any time: here, a file of the year 3000 is one of the year 3001 in the next build."""
    make_tree(tmp_path, {"file": b""})
    fields = directory._stat_fields

    def fingerprint(year: int) -> str:
        def of_that_year(status: os.stat_result) -> tuple[int, ...]:
            return (*fields(status), (year - 1970) * 365 * 86_400 * 10**9)

        monkeypatch.setattr(directory, "_stat_fields", of_that_year)
        return source(tmp_path).fingerprint()

    assert fingerprint(3000) == fingerprint(3000) != fingerprint(3001)
