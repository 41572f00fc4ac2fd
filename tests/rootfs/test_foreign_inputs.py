"""Inputs as other tools and systems make them: what all of them understand in one way is taken, the rest has its word."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from otabuild.errors import InputError, UnsupportedEntryError
from otabuild.format import file_table
from otabuild.rootfs import acl_text, transforms
from otabuild.rootfs.gate import supported
from otabuild.rootfs.inputs import DirectoryInput, TarInput
from otabuild.rootfs.scan import RootfsOptions, fingerprint, scan
from otabuild.rootfs.tar_source import TarSource
from tests.rootfs.tars import END, header, member, padded, pax
from tests.rootfs.trees import folder, regular

HEX = "0123456789abcdef" * 4


def read(tmp_path: Path, *parts: bytes) -> dict[str, bytes | None]:
    """Return the content of every path of an archive; None for what is no regular file."""
    (tmp_path / "a.tar").write_bytes(b"".join(parts) + END)
    entries = TarSource(str(tmp_path / "a.tar"), str(tmp_path / "work")).entries()
    found: dict[str, bytes | None] = {}
    for entry in entries:
        content = entry.content
        with open(content.host_path if content else os.devnull, "rb") as file:
            file.seek(content.offset if content else 0)
            found[entry.path] = file.read(content.size) if content else None
    return found


def scanned(options: RootfsOptions, work: Path) -> list[tuple[object, ...]]:
    result = scan(options, euid=os.geteuid(), work=str(work))
    return [(entry.path, entry.mode, dict(entry.xattrs), entry.target) for entry in result.entries]


# Access control lists as text.


@pytest.mark.parametrize(
    "spec",
    [
        ("-m", "g:4:rx"),
        ("-m", "u:1000:rwx,u:7:r,g:4:-,m:rx"),
        ("-d", "-m", "g:4:rx,u:2:w"),
        ("-m", "g:4:rx", "-d", "-m", "o:-"),
    ],
)
@pytest.mark.parametrize("packer", ["tar --acls --numeric-owner", "tar --acls --xattrs", "bsdtar"])
def test_lists_in_archives_are_those_of_the_directory(tmp_path: Path, packer: str, spec: tuple[str, ...]) -> None:
    tool, *options = packer.split()
    if shutil.which("setfacl") is None or shutil.which(tool) is None:
        pytest.skip(f"needs setfacl and {tool} (Debian: acl, libarchive-tools)")
    root = tmp_path / "root"
    (root / "log").mkdir(parents=True)
    (root / "log").chmod(0o755)  # whatever the umask: bsdtar writes the group's permissions where the mode has the mask
    if subprocess.run(["setfacl", *spec, root / "log"], check=False, capture_output=True).returncode:
        pytest.skip("no access control lists on this file system")
    subprocess.run([tool, *options, "-C", root, "-cf", tmp_path / "a.tar", "."], check=True)
    directory, archive = (
        RootfsOptions((kind(str(path), owner=(0, 0)),), clean=False, stub_resolv_conf=False)
        for kind, path in ((DirectoryInput, root), (TarInput, tmp_path / "a.tar"))
    )
    if "--numeric-owner" not in options and tool == "tar":
        archive = directory if b"SCHILY.xattr.system" not in (tmp_path / "a.tar").read_bytes() else archive
    if "--numeric-owner" in options and b"group:adm" in (tmp_path / "a.tar").read_bytes():
        with pytest.raises(UnsupportedEntryError, match="as text"):
            scanned(archive, tmp_path / "work")
        return
    assert scanned(archive, tmp_path / "work") == scanned(directory, tmp_path / "work")


@pytest.mark.parametrize(
    "text",
    [
        b"user::rw-,group::r--,group:adm:r-x,mask::r-x,other::r--",  # a name
        b"user::rw-,group:4:r-x,mask::r-x,other::r--",  # no entry for the group
        b"user::rw-,group::r--,group:4:r-x,other::r--",  # no mask
        b"user::rw-,group::r--,group:4:r-x,group:4:r--,mask::r-x,other::r--",  # twice
        b"user::rwz,group::r--,other::r--",
        b"user::rw-,group::r--,group:4294967295:r-x,mask::r-x,other::r--",
        b"owner@:rw::allow",
        b"\xff",
    ],
)
def test_a_list_that_its_text_does_not_determine_is_refused_at_the_gate(tmp_path: Path, text: bytes) -> None:
    """Not before: what the recipe excludes or drops needs no list."""
    data = pax((b"SCHILY.acl.access", text)) + member(b"a") + END
    (tmp_path / "a.tar").write_bytes(data)
    options = RootfsOptions((TarInput(str(tmp_path / "a.tar")),), clean=False, stub_resolv_conf=False)
    with pytest.raises(UnsupportedEntryError, match="access control list"):
        scanned(options, tmp_path)
    for change in ({"exclude": ("/a",)}, {"drop_xattrs": ("system.posix_acl_*",)}):
        scanned(RootfsOptions(options.sources, clean=False, stub_resolv_conf=False, **change), tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [b"user::rw-\ngroup::r--\nother::r--\n", b"user::rw-,group::r--,other:r--"])
def test_a_list_that_says_no_more_than_the_mode_is_none(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(pax((b"SCHILY.acl.access", text)) + member(b"a") + END)
    entries = {entry.path: entry for entry in TarSource(str(tmp_path / "a.tar"), str(tmp_path)).entries()}
    assert dict(entries["/a"].xattrs) == {}
    assert acl_text.is_trivial(acl_text.attribute(file_table.ACL, text)[1])


# Archives that GNU tar, bsdtar, Python and Go read in one way.


def _append(folder: Path, *options: str) -> bytes:
    for number, content in enumerate((b"old", b"newer", b"the newest")):
        (folder / "version").write_bytes(content)
        os.utime(folder / "version", (number, 2_000_000_000 + number))
        subprocess.run(["tar", *options, "-C", folder, "-rf", folder / "x.tar", "./version"], check=True)
    return (folder / "x.tar").read_bytes()


def test_an_appended_file_replaces_the_one_before(tmp_path: Path) -> None:
    assert read(tmp_path, _append(tmp_path, "--format=gnu"))["/version"] == b"the newest"


def test_a_hard_link_to_the_replaced_file_keeps_it(tmp_path: Path) -> None:
    old, new = (member(b"a", text, magic=b"ustar  \0") for text in (b"old", b"new"))
    link = member(b"b", kind=b"1", link=b"a", magic=b"ustar  \0")
    found = read(tmp_path, old, link, new)
    assert (found["/a"], found["/b"]) == (b"new", b"old")


@pytest.mark.parametrize("order", ["abac", "bbac", "abcac", "ababac"])
def test_links_to_a_file_and_to_its_replacement_are_two_groups(tmp_path: Path, order: str) -> None:
    """Also if old and new agree in all but that; a path that is there already is a file again, any other links to it."""
    parts, seen = [], ""
    for name in order:
        if name == order[0] or name in seen:
            parts.append(member(name.encode(), b"one", magic=b"ustar  \0"))
        else:
            parts.append(member(name.encode(), kind=b"1", link=order[0].encode(), magic=b"ustar  \0"))
        seen += name
    (tmp_path / "a.tar").write_bytes(b"".join(parts) + END)
    found = {entry.path: entry.link for entry in TarSource(str(tmp_path / "a.tar"), str(tmp_path / "work")).entries()}
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-C", tmp_path / "unpacked", "-xf", tmp_path / "a.tar"], check=True)
    inodes = {f"/{path.name}": path.stat() for path in (tmp_path / "unpacked").iterdir()}
    for one, other in itertools.combinations(inodes, 2):
        linked = found[one] is not None and found[one] == found[other]
        assert linked == (inodes[one].st_ino == inodes[other].st_ino), (one, other)


@pytest.mark.parametrize("form", ["--format=ustar", "--format=pax"])
def test_a_path_twice_in_another_format_may_be_an_attack(tmp_path: Path, form: str) -> None:
    with pytest.raises(InputError, match="contains a path twice"):
        read(tmp_path, _append(tmp_path, form))


def _signed(name: bytes) -> bytes:
    block = bytearray(header(name, size=5))
    block[148:156] = b" " * 8
    total = sum(byte - 256 if byte > 0x7F else byte for byte in block)
    block[148:156] = b"%06o\0 " % (total & 0o777777)
    return bytes(block) + padded(b"12345")


@pytest.mark.parametrize("name", ["café", "日本", "a"])
def test_both_ways_to_sum_a_header_are_right(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, _signed(name.encode()))[f"/{name}"] == b"12345"


def test_a_sum_that_is_neither_is_damage(tmp_path: Path) -> None:
    block = bytearray(_signed(b"\xe9\xe9"))
    block[0] ^= 1
    with pytest.raises(InputError, match=r"damaged|not a tar archive"):
        read(tmp_path, member(b"first"), bytes(block))


@pytest.mark.parametrize(
    "link",
    [
        member(b"b", kind=b"1", link=b"a"),
        header(b"b", b"1", size=3, link=b"a"),  # the size of what it leads to; no body follows
        member(b"a", kind=b"1", link=b"./a") + member(b"b", kind=b"1", link=b"a"),  # one to itself, too
    ],
    ids=["plain", "with a size", "to itself"],
)
def test_hard_links_of_every_writer(tmp_path: Path, link: bytes) -> None:
    found = read(tmp_path, member(b"a", b"123"), link, member(b"c", b"4"))
    assert (found["/a"], found["/b"], found["/c"]) == (b"123", b"123", b"4")


# What the host adds.


@pytest.mark.parametrize("year", [1, 1600, 1900, 2262, 2554, 3000, 9999])
@pytest.mark.parametrize("of", ["file", "folder", "archive"])
def test_times_that_no_clock_shows_do_not_matter(tmp_path: Path, year: int, of: str) -> None:
    root, archive = tmp_path / "root", tmp_path / "a.tar"
    root.mkdir()
    (root / "f").write_bytes(b"1")
    archive.write_bytes(member(b"f", b"1") + END)
    far = int((year - 1970) * 365.2425 * 86400) * 10**9
    try:
        os.utime({"file": root / "f", "folder": root, "archive": archive}[of], ns=(far, far))
    except OSError:
        pytest.skip("this file system has no such times")
    found = TarInput(str(archive)) if of == "archive" else DirectoryInput(str(root), (0, 0))
    options = RootfsOptions((found,), clean=False, stub_resolv_conf=False)
    before = fingerprint(options, work=str(tmp_path))
    assert [path for path, *_ in scanned(options, tmp_path)] == ["/", "/f"]
    (root / "f").write_bytes(b"2")
    archive.write_bytes(member(b"f", b"2") + END)
    assert fingerprint(options, work=str(tmp_path)) != before


FOREIGN = (
    "com.apple.quarantine",
    "com.apple.provenance",
    "system.nfs4_acl",
    "system.cifs_acl",
    "btrfs.compression",
    "lustre.lov",
    "ceph.dir.layout",
    "note",  # no namespace
    "user.",  # nothing in it
    "security.",
)
OF_HOSTS = ("trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT", "trusted.gfid", "security.NTACL", "trusted.lov")
OURS = ("user.note", "trusted.mine", "security.capability", "system.posix_acl_access", "system.posix_acl_default")


def test_attributes_that_no_target_can_set_do_not_travel() -> None:
    entry = regular("/a")._replace(xattrs=dict.fromkeys((*FOREIGN, *OF_HOSTS, *OURS), b"x" * 20))
    dropped, foreign = Counter[str](), Counter[str]()
    (after,) = transforms.drop_xattrs([entry], (), dropped, foreign)
    assert sorted(after.xattrs) == sorted(OURS)
    assert dropped == Counter(OF_HOSTS)
    assert foreign == Counter(FOREIGN)


@pytest.mark.parametrize("name", ["", "user.a\0b", "\0", "x" * 256])
def test_names_that_no_inode_can_have_are_refused_at_the_gate(name: str) -> None:
    entry = regular("/a")._replace(xattrs={name: b"1"})
    (kept,) = transforms.drop_xattrs([entry], (), Counter(), Counter())
    with pytest.raises(UnsupportedEntryError, match="name that Linux does not accept"):
        list(supported([folder("/"), kept], "error", []))


# Container images in the place of a root file system.

SAVED = b'[{"Config": "c", "RepoTags": ["v:1"], "Layers": ["l"]}]'
COPIED = b'{"schemaVersion": 2, "config": {"size": 2}, "layers": []}'
IMAGES: dict[str, tuple[dict[str, bytes], str]] = {
    "crane": ({f"sha256:{HEX}": b"{}", f"{HEX}.tar.gz": b"1", "manifest.json": SAVED}, "docker-archive"),
    "kaniko": ({f"sha256:{HEX}": b"{}", f"{HEX}.tar.gz": b"1", "manifest.json": SAVED, "x": b""}, "docker-archive"),
    "podman": ({f"{HEX}.json": b"{}", f"{HEX}.tar": b"1", "manifest.json": SAVED}, "docker-archive"),
    "docker": ({f"{HEX}/layer.tar": b"1", f"{HEX}.json": b"{}", "manifest.json": SAVED}, "docker-archive"),
    "buildkit": ({f"blobs/sha256/{HEX}": b"1", "manifest.json": SAVED}, "docker-archive"),
    "jib": ({"config.json": b"{}", f"{HEX}.tar.gz": b"1", "manifest.json": SAVED}, "docker-archive"),
    "bazel": ({"layers/0.tar.zst": b"1", "a.json": b"{}", "manifest.json": SAVED}, "docker-archive"),
    "skopeo dir:": ({"version": b"Directory", HEX: b"1", "manifest.json": COPIED}, "oci:LAYOUT:TAG"),
    "layout": ({"oci-layout": b"{}", "index.json": b"{}", f"blobs/sha256/{HEX}": b"1"}, "source: {oci:"),
    "layout by sha512": ({"oci-layout": b"{}", "index.json": b"{}", f"blobs/sha512/{HEX * 2}": b"1"}, "source: {oci:"),
}


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("packed", [False, True])
def test_an_image_of_every_tool_is_no_root_file_system(tmp_path: Path, kind: str, *, packed: bool) -> None:
    files, hint = IMAGES[kind]
    root = tmp_path / "root"
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    subprocess.run(["tar", "-C", root, "-cf", tmp_path / "a.tar", "."], check=True)
    found = TarInput(str(tmp_path / "a.tar")) if packed else DirectoryInput(str(root), (0, 0))
    with pytest.raises(InputError, match="is a container image") as caught:
        scanned(RootfsOptions((found,)), tmp_path)
    assert hint in caught.value.hint


TOO_LARGE = pytest.param(SAVED + b" " * (4 << 20), id="too large to be looked at")


@pytest.mark.parametrize(
    "manifest", [b"[]", b"{}", b"[1]", b"null", b"no JSON", b"\xff", b"[" * 9999, b'{"layers": 1}', TOO_LARGE]
)
def test_a_tree_that_only_has_such_names_is_no_image(tmp_path: Path, manifest: bytes) -> None:
    root = tmp_path / "root"
    (root / "etc" / HEX).mkdir(parents=True)
    (root / "opt").mkdir()
    for name in f"{HEX}.tar", "index.json", "opt/oci-layout", "opt/layer.tar":
        (root / name).write_bytes(b"1")
    (root / "manifest.json").write_bytes(manifest)
    scanned(RootfsOptions((DirectoryInput(str(root), (0, 0)),)), tmp_path)
