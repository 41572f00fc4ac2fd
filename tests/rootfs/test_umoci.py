"""Container images made by umoci and skopeo; the result of umoci's unpacking is the reference for otabuild's merge."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tarfile
from collections import defaultdict
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from otabuild.rootfs.content import load_content
from otabuild.rootfs.entry import Entry
from otabuild.rootfs.inputs import DirectoryInput, DockerArchiveInput, Input, OciInput, TarInput
from otabuild.rootfs.scan import RootfsOptions, fingerprint, scan
from tests.rootfs.trees import IS_ROOT, make_tree, nasty_tree

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not IS_ROOT, reason="umoci needs root for owners and devices"),
    pytest.mark.skipif(not (shutil.which("umoci") and shutil.which("skopeo")), reason="needs umoci and skopeo"),
]

Row = tuple[object, ...]


def umoci(*arguments: object) -> None:
    subprocess.run(["umoci", *map(str, arguments)], check=True, capture_output=True)


def table(source: Input, work: Path) -> list[Row]:
    """Return all that the tables of an image record for a rootfs, hard links as the paths that share an inode."""
    options = RootfsOptions((source,), clean=False, stub_resolv_conf=False)
    entries = list(scan(options, euid=0, work=str(work)).entries)
    groups = defaultdict(list)
    for entry in entries:
        if entry.link is not None:
            groups[entry.link].append(entry.path)
    return [_row(entry, groups.get(entry.link or "", [])) for entry in entries]


def _row(entry: Entry, group: list[str]) -> Row:
    content = None if entry.content is None else load_content(entry.content)
    shared = tuple(group) if len(group) > 1 else ()
    return (entry.path, entry.mode, entry.uid, entry.gid, dict(entry.xattrs), entry.target, content, shared)


def layered_image(folder: Path) -> tuple[Path, Path]:
    """An image of four layers with whiteouts, and the directory that umoci unpacks it to."""
    layout, bundle = folder / "layout", folder / "bundle"
    umoci("init", "--layout", layout)
    umoci("new", "--image", f"{layout}:v1")
    umoci("unpack", "--image", f"{layout}:v1", bundle)
    root = bundle / "rootfs"
    nasty_tree(root)
    os.removexattr(root / "etc/size-65", "user.empty")  # umoci cannot store it
    umoci("repack", "--refresh-bundle", "--image", f"{layout}:v1", bundle)
    (root / "opt/dup").unlink()
    shutil.rmtree(root / "usr/bin")
    make_tree(root, {"usr/bin": "lib", "a-c": b"", "etc/size-64": b"changed"})
    umoci("repack", "--refresh-bundle", "--image", f"{layout}:v1", bundle)
    (root / "usr/bin").unlink()
    make_tree(root, {"usr/bin/back": b"again", "opt/dup": b"new"})
    umoci("repack", "--refresh-bundle", "--image", f"{layout}:v1", bundle)
    shutil.rmtree(root / "a")
    os.chmod(root / "etc", 0o700)
    umoci("repack", "--refresh-bundle", "--image", f"{layout}:v1", bundle)
    return layout, root


def test_one_rootfs_in_every_form_is_one_table(tmp_path: Path) -> None:
    layout, root = layered_image(tmp_path)
    tars = tmp_path / "tars"
    tars.mkdir()
    copies = {
        "oci": "oci:{}/copy:v1",
        "oci.tar": "oci-archive:{}/oci.tar:v1",
        "docker.tar": "docker-archive:{}/docker.tar:x:v1",
    }
    for to in copies.values():
        arguments = ["copy", "--insecure-policy", f"oci:{layout}:v1", to.format(tars)]
        subprocess.run(["skopeo", *arguments], check=True, capture_output=True)
    subprocess.run(["tar", "--xattrs", "--xattrs-include=*", "-C", root, "-cf", tars / "plain.tar", "."], check=True)
    subprocess.run(["tar", "--xattrs", "--xattrs-include=*", "-C", root, "-czf", tars / "x.tar.gz", "."], check=True)
    expected = table(DirectoryInput(str(root)), tmp_path)
    # umoci only drops times; hard links of symlinks survive its layers
    work = tmp_path / "work"
    for source in (
        TarInput(str(tars / "plain.tar")),
        TarInput(str(tars / "x.tar.gz")),
        OciInput(str(layout), reference="v1"),
        OciInput(str(tars / "copy"), reference="v1"),
        OciInput(str(tars / "oci.tar"), reference="v1"),
        DockerArchiveInput(str(tars / "docker.tar"), tag="x:v1"),
        DockerArchiveInput(str(tars / "docker.tar")),
    ):
        found = table(source, work)
        assert [row[0] for row in found] == [row[0] for row in expected], source
        assert [pair for pair in zip(found, expected, strict=True) if pair[0] != pair[1]] == [], source


def test_layers_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, _ = layered_image(tmp_path)
    source, work = OciInput(str(layout), reference="v1"), tmp_path / "work"
    options = RootfsOptions((source,))
    before = fingerprint(options, work=str(work))
    first = table(source, work)
    assert fingerprint(options, work=str(work)) == before
    blobs = sorted((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    blobs[-1].write_bytes(b"never looked at again")
    assert table(source, work) == first
    next((work / "layers").glob("*.spool")).unlink()
    assert fingerprint(options, work=str(work)) == before


def test_a_moved_tag_is_noticed(tmp_path: Path) -> None:
    layout, root = layered_image(tmp_path)
    options = RootfsOptions((OciInput(str(layout), reference="v1"),))
    before = fingerprint(options, work=str(tmp_path))
    make_tree(root, {"one-more": b""})
    umoci("repack", "--image", f"{layout}:v1", root.parent)
    assert fingerprint(options, work=str(tmp_path)) != before
    assert replace(options, clean=False) != options


_NAMES = ("a", "b", "a-b")


def random_layer(r: random.Random, below: dict[str, str]) -> tuple[list[tuple[str, str, str]], dict[str, str]]:
    """Return members (path, kind, data) of a layer that fits over a tree (path -> kind), and the resulting tree."""
    tree = dict(below)
    members: list[tuple[str, str, str]] = []
    seen: set[str] = set()
    for folder in sorted(path for path, kind in below.items() if kind == "dir"):
        if r.random() < 0.15 and folder not in seen and not any(folder.startswith(gone) for gone in seen):
            members.append((f"{folder}/.wh..wh..opq", "file", ""))
            tree = {path: kind for path, kind in tree.items() if not path.startswith(folder + "/")}
            seen.add(folder + "/")
    for path in sorted(below):
        if r.random() < 0.2 and path in tree:
            folder, _, name = path.rpartition("/")
            members.append((f"{folder}/.wh.{name}".lstrip("/"), "file", ""))
            tree = {p: kind for p, kind in tree.items() if p != path and not p.startswith(path + "/")}
            seen |= {path}
    for _ in range(r.randint(1, 6)):
        folders = ["", *(path for path, kind in tree.items() if kind == "dir")]
        folder = r.choice(sorted(folders))
        path = f"{folder}/{r.choice(_NAMES)}".lstrip("/")
        if path in seen or path.count("/") > 3 or any(path.startswith(f"{gone}/") for gone in seen if gone in below):
            continue
        kind = r.choice(["dir", "file", "symlink", "link"])
        files = sorted(
            p for p, k in tree.items() if k in {"file", "link"} and p != path and not p.startswith(path + "/")
        )
        if kind == "link" and not files:
            kind = "file"
        if kind != "dir":
            if any(other.startswith(path + "/") for other in seen):
                continue
            tree = {p: k for p, k in tree.items() if not p.startswith(path + "/")}
        seen.add(path)
        tree[path] = kind
        members.append((path, kind, r.choice(files) if kind == "link" else str(r.random())))
    return members, tree


def layer_tar(members: list[tuple[str, str, str]], r: random.Random) -> bytes:
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, kind, data in members:
            info = tarfile.TarInfo(path)
            info.uid, info.mode = r.randint(0, 5), r.choice([0o644, 0o755, 0o700])
            if kind == "dir":
                info.type = tarfile.DIRTYPE
            elif kind in {"symlink", "link"}:
                info.type = tarfile.SYMTYPE if kind == "symlink" else tarfile.LNKTYPE
                info.linkname = data
            info.size = len(data) if kind == "file" else 0
            archive.addfile(info, BytesIO(data.encode()) if kind == "file" else None)
    return out.getvalue()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32))
@example(700)  # a link to a link whose target the same layer replaces by a directory
def test_random_layer_stacks_are_what_umoci_unpacks(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    r = random.Random(seed)
    folder = tmp_path_factory.mktemp("stack")
    layout = folder / "layout"
    umoci("init", "--layout", layout)
    umoci("new", "--image", f"{layout}:x")
    tree: dict[str, str] = {}
    for number in range(r.randint(1, 4)):
        members, tree = random_layer(r, tree)
        (folder / f"{number}.tar").write_bytes(layer_tar(members, r))
        umoci("raw", "add-layer", "--image", f"{layout}:x", folder / f"{number}.tar")
    umoci("unpack", "--image", f"{layout}:x", folder / "bundle")
    ours = table(OciInput(str(layout), reference="x"), folder / "work")
    theirs = table(DirectoryInput(str(folder / "bundle/rootfs")), folder / "work")
    assert [row for row in ours if row[0] != "/"] == [row for row in theirs if row[0] != "/"]
    shutil.rmtree(folder)
