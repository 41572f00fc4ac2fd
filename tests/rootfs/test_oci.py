"""Container images written by hand, so that a test can make any error."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from otabuild.errors import InputError
from otabuild.rootfs.archive_index import ArchiveIndex
from otabuild.rootfs.content import load_content
from otabuild.rootfs.entry import Entry
from otabuild.rootfs.inputs import DirectoryInput, DockerArchiveInput, Input, OciInput, TarInput
from otabuild.rootfs.scan import RootfsOptions, fingerprint, scan
from tests.rootfs.layouts import FOREIGN, INDEX, MANIFEST, TAR, Layout, named, sha
from tests.rootfs.tars import END, member, pax
from tests.rootfs.trees import paths

LAYER = member(b"a") + END


def entries(
    location: Path, work: Path, reference: str | None = None, platform: str | None = None, *, docker: bool = False
) -> dict[str, Entry]:
    source: Input = OciInput(str(location), None, reference, platform)
    if docker:
        source = DockerArchiveInput(str(location), None, reference)
    options = RootfsOptions((source,), clean=False, stub_resolv_conf=False)
    return {entry.path: entry for entry in scan(options, euid=1000, work=str(work)).entries}


def stack(tmp_path: Path, *layers: bytes) -> dict[str, Entry]:
    layout = Layout(tmp_path / "layout")
    return entries(layout.index(layout.image(*(layer + END for layer in layers))), tmp_path / "work")


def texts(found: dict[str, Entry]) -> dict[str, bytes]:
    return {path: load_content(entry.content) for path, entry in found.items() if entry.content is not None}


def test_layers_in_every_compression(tmp_path: Path) -> None:
    layers = [member(name, name) + END for name in (b"a", b"b", b"c")]
    layout = Layout(tmp_path / "layout")
    descriptors = [
        layout.blob(layers[0], TAR),
        layout.blob(gzip.compress(layers[1]), TAR + "+gzip"),
        layout.blob(zstandard.compress(layers[2]), TAR + "+zstd"),
    ]
    root = layout.index(layout.image(*layers, layers=descriptors))
    assert texts(entries(root, tmp_path / "work")) == {"/a": b"a", "/b": b"b", "/c": b"c"}


def test_a_layout_in_a_tar(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    root = layout.index(layout.image(member(b"a", b"1") + END))
    with tarfile.open(tmp_path / "layout.tar", "w") as tar:
        tar.add(root, ".")
    assert texts(entries(tmp_path / "layout.tar", tmp_path / "work")) == {"/a": b"1"}


LOWER = (
    member(b"a/", kind=b"5") + member(b"a/x", b"1") + member(b"a/y", b"1") + member(b"a-b", b"1") + member(b"f", b"1")
)

B12: dict[str, tuple[bytes, list[str]]] = {
    "plain": (member(b"a/.wh.x") + member(b".wh.f"), ["/a", "/a-b", "/a/y"]),
    "of a directory": (member(b".wh.a"), ["/a-b", "/f"]),
    "before its replacement": (member(b".wh.a") + member(b"a/z", b"2"), ["/a", "/a-b", "/a/z", "/f"]),
    "behind its replacement": (member(b"a/z", b"2") + member(b".wh.a"), ["/a", "/a-b", "/a/z", "/f"]),
    "of a replaced file": (member(b"f", b"2") + member(b".wh.f"), ["/a", "/a-b", "/a/x", "/a/y", "/f"]),
    "opaque": (member(b"a/.wh..wh..opq"), ["/a", "/a-b", "/f"]),
    "opaque before": (member(b"a/.wh..wh..opq") + member(b"a/y", b"2"), ["/a", "/a-b", "/a/y", "/f"]),
    "opaque behind": (member(b"a/y", b"2") + member(b"a/.wh..wh..opq"), ["/a", "/a-b", "/a/y", "/f"]),
    "opaque root": (member(b".wh..wh..opq") + member(b"n"), ["/n"]),
    "opaque and plain": (member(b"a/.wh..wh..opq") + member(b".wh.a"), ["/a-b", "/f"]),
    "below a file": (member(b"f/.wh.x") + member(b"a/x/.wh..wh..opq"), ["/a", "/a-b", "/a/x", "/a/y", "/f"]),
    "of nothing": (member(b"n/o/.wh.x") + member(b".wh.nothing"), ["/a", "/a-b", "/a/x", "/a/y", "/f"]),
    "opaque of nothing": (member(b"n/.wh..wh..opq"), ["/a", "/a-b", "/a/x", "/a/y", "/f"]),
    "file over directory": (member(b"a", b"2"), ["/a", "/a-b", "/f"]),
    "directory over file": (member(b"f/", kind=b"5") + member(b"f/g"), ["/a", "/a-b", "/a/x", "/a/y", "/f", "/f/g"]),
    "link over directory": (member(b"a", kind=b"2", link=b"f"), ["/a", "/a-b", "/f"]),
}


@pytest.mark.parametrize("case", B12)
def test_b12_whiteouts(tmp_path: Path, case: str) -> None:
    layer, expected = B12[case]
    assert sorted(stack(tmp_path, LOWER, layer)) == ["/", *expected]


def test_b12_a_directory_that_becomes_a_file_and_back(tmp_path: Path) -> None:
    found = stack(tmp_path, LOWER, member(b"a", b"2"), member(b"a/", kind=b"5") + member(b"a/new", b"3"))
    assert sorted(found) == ["/", "/a", "/a-b", "/a/new", "/f"]


def test_b12_a_directory_of_the_lowest_layer_may_be_whiteouted_there(tmp_path: Path) -> None:
    assert sorted(stack(tmp_path, member(b".wh.gone") + member(b"kept"))) == ["/", "/kept"]


def test_b12_a_whiteout_device_is_an_entry_of_its_own(tmp_path: Path) -> None:
    found = stack(tmp_path, member(b"f", b"1"), member(b"f", kind=b"3"))
    assert (found["/f"].mode, found["/f"].target) == (0o20644, None)


@pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh...", b"a/.wh..wh.plnk", b".wh.a/b", b"f/.wh..wh..opq"])
def test_b12_whiteouts_that_make_no_sense(tmp_path: Path, name: bytes) -> None:
    with pytest.raises(InputError, match=r"whiteout|parent"):
        stack(tmp_path, LOWER, member(b"f", b"2") + member(name))


def test_b12_records_of_aufs_are_left_out(tmp_path: Path) -> None:
    """Its whiteouts may be hard links to one of them, and files to another."""
    records = member(b".wh..wh.aufs") + member(b".wh..wh.plnk/7.1", b"1") + member(b".wh..wh.orph/", kind=b"5")
    links = member(b"q", kind=b"1", link=b".wh..wh.plnk/7.1") + member(b".wh.f", kind=b"1", link=b".wh..wh.aufs")
    found = stack(tmp_path, LOWER, records + links)
    assert sorted(found) == ["/", "/a", "/a-b", "/a/x", "/a/y", "/q"]
    assert texts(found)["/q"] == b"1"


def test_b12_nothing_goes_through_a_link_of_a_lower_layer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a directory in an earlier source"):
        stack(tmp_path, member(b"l", kind=b"2", link=b"/etc"), member(b"l/passwd", b"x"))


@pytest.mark.parametrize("whiteout", [b"l/.wh.x", b"l/.wh..wh..opq", b"l/deep/.wh.x"])
def test_b12_no_whiteout_goes_through_a_link_of_a_lower_layer(tmp_path: Path, whiteout: bytes) -> None:
    """Programs that unpack layers follow the link, and would remove what otabuild keeps."""
    lower = member(b"d/x") + member(b"d/deep/x") + member(b"l", kind=b"2", link=b"d") + member(b"f")
    with pytest.raises(InputError, match="takes something away below a path that is not a directory"):
        stack(tmp_path, lower, member(whiteout))
    found = stack(tmp_path / "2", lower, member(b".wh.l") + member(b".wh.f") + member(whiteout))
    assert sorted(found) == ["/", "/d", "/d/deep", "/d/deep/x", "/d/x"]
    found = stack(tmp_path / "3", lower, member(b"l/", kind=b"5") + member(b"f/", kind=b"5") + member(whiteout))
    assert sorted(found) == ["/", "/d", "/d/deep", "/d/deep/x", "/d/x", "/f", "/l"]


def test_hard_links_between_layers(tmp_path: Path) -> None:
    one = member(b"a", b"1") + member(b"b", b"2") + member(b"b2", kind=b"1", link=b"b")
    two = member(b"c", kind=b"1", link=b"a") + member(b"0", kind=b"1", link=b"b2")
    three = member(b"d", kind=b"1", link=b"c") + member(b".wh.a")
    found = stack(tmp_path, one, two, three)
    assert texts(found) == {"/0": b"2", "/b": b"2", "/b2": b"2", "/c": b"1", "/d": b"1"}
    assert found["/c"].link == found["/d"].link != found["/b"].link
    assert found["/0"].link == found["/b"].link == found["/b2"].link is not None


def test_a_hard_link_of_a_layer_leads_to_what_stands_there_when_it_comes(tmp_path: Path) -> None:
    """This matches unpacking the layer, as umoci and docker do."""
    link = member(b"h", kind=b"1", link=b"f")
    found = stack(tmp_path, member(b"f", b"old"), link + member(b"f", b"new"))
    assert texts(found) == {"/f": b"new", "/h": b"old"}
    assert found["/f"].link != found["/h"].link
    found = stack(tmp_path / "2", member(b"f", b"old"), member(b"f", b"new") + link)
    assert texts(found) == {"/f": b"new", "/h": b"new"}
    assert found["/f"].link == found["/h"].link is not None
    with pytest.raises(InputError, match="/h: a layer contains a hard link to a missing file"):
        stack(tmp_path / "3", link + member(b"f", b"new"))


@pytest.mark.parametrize("behind", [member(b"evil"), END + member(b"evil") + END, b"x"])
@pytest.mark.parametrize("mark", [END, END[:512]])
def test_b13_a_layer_ends_with_its_end_mark(tmp_path: Path, mark: bytes, behind: bytes) -> None:
    """Readers of a layer stop there, so nobody would see what follows."""
    layout, layer = Layout(tmp_path / "layout"), member(b"a", b"1") + mark
    with pytest.raises(InputError, match="end mark"):
        entries(layout.index(layout.image(layer + behind)), tmp_path / "work")
    assert sorted(stack(tmp_path / "2", member(b"a") + END + bytes(700))) == ["/", "/a"]


@pytest.mark.parametrize("layer", [b"", bytes(512), member(b"b")])
def test_a_layer_may_lack_its_end_mark(tmp_path: Path, layer: bytes) -> None:
    """Its diff_id shows that it is complete."""
    layout = Layout(tmp_path / "layout")
    found = entries(layout.index(layout.image(member(b"a") + END, layer)), tmp_path / "work")
    assert sorted({*found} - {"/b"}) == ["/", "/a"]


@pytest.mark.parametrize("target", [b"nowhere", b"d", b"gone"])
def test_hard_links_between_layers_to_nothing(tmp_path: Path, target: bytes) -> None:
    with pytest.raises(InputError, match="hard link"):
        stack(tmp_path, member(b"d/x") + member(b"gone"), member(b".wh.gone"), member(b"c", kind=b"1", link=target))


def test_many_hard_links_between_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer is read a few times, regardless of the number of links."""
    reads: list[str] = []
    read = ArchiveIndex.read

    def counted(index: ArchiveIndex, plain_path: str = "") -> Iterator[Entry]:
        reads.append(index.name)
        return read(index, plain_path)

    monkeypatch.setattr(ArchiveIndex, "read", counted)
    lower = b"".join(member(b"f%d" % n, b"%d" % n) for n in range(50))
    upper = b"".join(member(b"g%d" % n, kind=b"1", link=b"f%d" % n) for n in range(50))
    found = stack(tmp_path, lower, upper, member(b"f0", b"new"))
    assert texts(found)["/g0"] == b"0"
    assert all(found[f"/f{n}"].link == found[f"/g{n}"].link for n in range(1, 50))
    assert found["/f0"].link is None
    assert len(reads) < 10


def test_a_docker_archive_is_no_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    docker_archive(Path("-"), [{"Config": "c", "Layers": ["l"]}], {"l": LAYER, "c": config_of(LAYER)})
    assert "/a" in entries(Path("-"), tmp_path / "work", docker=True)


def test_attributes_come_from_the_layer_that_has_the_entry(tmp_path: Path) -> None:
    with_xattr = pax((b"SCHILY.xattr.user.x", b"1")) + member(b"d", kind=b"5")
    assert stack(tmp_path, with_xattr, member(b"d/x"))["/d"].xattrs == {"user.x": b"1"}
    assert stack(tmp_path / "2", with_xattr, member(b"d", kind=b"5"))["/d"].xattrs == {}


def test_layers_that_another_version_read_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path / "layout")
    root = layout.index(layout.image(LAYER))
    first = paths(entries(root, tmp_path / "work").values())
    for old in (tmp_path / "work").rglob("*.entries"):
        old.write_bytes(b"what another version understood")
    monkeypatch.setattr("otabuild.rootfs.archive_index.STAMP", "another")
    assert paths(entries(root, tmp_path / "work").values()) == first
    assert len(list((tmp_path / "work").rglob("*.entries"))) == len(list((tmp_path / "work").rglob("*.spool"))) == 1


def test_which_image_is_meant(tmp_path: Path) -> None:
    layout, work = Layout(tmp_path / "layout"), tmp_path / "work"
    one, two = (layout.image(member(name) + END, arch=arch) for name, arch in ((b"one", "amd64"), (b"two", "arm64")))
    platforms = [d | {"platform": {"os": "linux", "architecture": a}} for d, a in ((one, "amd64"), (two, "arm64"))]
    several = layout.json({"schemaVersion": 2, "manifests": platforms}, INDEX)
    root = layout.index(named(one, "v1"), named(two, "v2"), named(several, "multi"), named(two, "again"))
    assert "/one" in entries(root, work, "v1")
    assert "/two" in entries(root, work, "v2")
    assert "/two" in entries(root, work, two["digest"])
    assert "/two" in entries(root, work, "multi", "linux/arm64")
    assert "/one" in entries(root, work, "v1", "linux/amd64")
    for reference, platform, message in (
        (None, None, "several images"),
        ("v3", None, "no image"),
        ("multi", None, "several images"),
        ("multi", "linux/riscv64", "no image"),
        ("v1", "linux/arm64", "different platform"),
        (sha(b"x"), None, "no image"),
    ):
        with pytest.raises(InputError, match=message):
            entries(root, work, reference, platform)


def _on(descriptor: dict[str, Any], architecture: str, variant: str | None = None) -> dict[str, Any]:
    platform = {"os": "linux", "architecture": architecture} | ({"variant": variant} if variant else {})
    return descriptor | {"platform": platform}


ARM = "linux/arm64"
PLATFORMS: dict[str, tuple[str, str | None, str | None, str, bool]] = {
    "any variant": ("arm64", "v8", "v8", ARM, True),
    "that variant": ("arm64", "v8", "v8", ARM + "/v8", True),
    "config without variant": ("arm64", "v8", None, ARM + "/v8", True),
    "descriptor without variant": ("arm64", None, "v8", ARM + "/v8", True),
    "neither with variant": ("arm64", None, None, ARM + "/v8", True),
    "another variant": ("arm", "v6", "v6", "linux/arm/v7", False),
    "a variant that nobody promised": ("arm", None, None, "linux/arm/v7", False),
    "config that leaves the variant out": ("arm", "v7", None, "linux/arm/v7", True),
    "another variant of the config": ("arm", "v7", "v6", "linux/arm/v7", False),
    "different architecture": ("arm", "v8", "v8", ARM, False),
}


@pytest.mark.parametrize("case", PLATFORMS)
def test_a_platform_without_variant_means_any(tmp_path: Path, case: str) -> None:
    architecture, variant, of_config, wanted, found = PLATFORMS[case]
    layout = Layout(tmp_path / "layout")
    images = [
        _on(layout.image(member(b"x86") + END), "amd64"),
        _on(layout.image(member(b"arm") + END, arch=architecture, variant=of_config), architecture, variant),
    ]
    root = layout.index(named(layout.json({"manifests": images}, INDEX), "v"))
    if found:
        assert sorted(entries(root, tmp_path / "work", "v", wanted)) == ["/", "/arm"]
    else:
        with pytest.raises(InputError, match=r"no image|different platform"):
            entries(root, tmp_path / "work", "v", wanted)


def test_the_exact_platform_comes_first(tmp_path: Path) -> None:
    layout, work = Layout(tmp_path / "layout"), tmp_path / "work"
    plain, six, seven = (
        _on(layout.image(member(name.encode()) + END, arch="arm", variant=variant), "arm", variant)
        for name, variant in (("plain", None), ("six", "v6"), ("seven", "v7"))
    )
    root = layout.index(seven, plain, six)
    assert "/plain" in entries(root, work, None, "linux/arm")
    assert "/seven" in entries(root, work, None, "linux/arm/v7")
    layout.index(layout.image(LAYER), seven)
    with pytest.raises(InputError, match="several images"):
        entries(root, work)
    layout.index(seven, six)
    with pytest.raises(InputError, match=r"several images \(observed linux/arm/v6, linux/arm/v7\)"):
        entries(root, work, None, "linux/arm")


@pytest.mark.parametrize("reference", [None, "other"])
def test_of_many_images_so_many_are_told_as_fit(tmp_path: Path, reference: str | None) -> None:
    layout = Layout(tmp_path / "layout")
    root = layout.index(*(named(layout.image(member(b"%d" % n) + END), f"a-tag-{n:04}") for n in range(99)))
    with pytest.raises(InputError) as caught:
        entries(root, tmp_path / "work", reference)
    assert len(str(caught.value.observed)) == 1000


def test_what_buildx_adds_is_no_image(tmp_path: Path) -> None:
    layout, work = Layout(tmp_path / "layout"), tmp_path / "work"
    image = _on(layout.image(LAYER), "amd64")
    attestation = layout.image(member(b"b") + END, arch="unknown") | {
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }
    root = layout.index(named(layout.json({"manifests": [image, attestation]}, INDEX), "v"))
    for reference, platform in (("v", None), (None, None), ("v", "linux/amd64")):
        assert "/a" in entries(root, work, reference, platform)


def test_one_image_may_stand_there_several_times(tmp_path: Path) -> None:
    layout, work = Layout(tmp_path / "layout"), tmp_path / "work"
    image = layout.image(LAYER)
    root = layout.index(named(image, "one"), named(image, "two"), named(image, "two"))
    for reference in None, "one", "two", image["digest"]:
        assert "/a" in entries(root, work, reference)


def test_a_digest_is_found_in_an_index_of_the_layout(tmp_path: Path) -> None:
    layout, work = Layout(tmp_path / "layout"), tmp_path / "work"
    one, two = _on(layout.image(LAYER), "amd64"), _on(layout.image(member(b"b") + END, arch="arm64"), "arm64")
    inner = layout.json({"manifests": [one, two]}, INDEX)
    root = layout.index(named(layout.json({"manifests": [inner]}, INDEX), "v"))
    assert "/b" in entries(root, work, two["digest"])
    assert "/b" in entries(root, work, inner["digest"], ARM)
    with pytest.raises(InputError, match="no image"):
        entries(root, work, sha(b"?"))


@pytest.mark.parametrize("kind", [FOREIGN, "application/vnd.oci.image.layer.nondistributable.v1.tar"])
def test_a_layer_that_one_may_not_pass_on(tmp_path: Path, kind: str) -> None:
    layout, work = Layout(tmp_path / "layout"), tmp_path / "work"
    layer = layout.blob(LAYER, kind, urls=["https://x"])
    assert "/a" in entries(layout.index(layout.image(LAYER, layers=[layer])), work)
    (layout.root / "blobs/sha256" / sha(LAYER)[7:]).unlink()
    with pytest.raises(InputError, match=r"lacks a file[^$]*skopeo copy"):
        entries(layout.root, tmp_path / "2")


def _corrupt(layout: Layout, descriptor: dict[str, Any]) -> dict[str, Any]:
    path = layout.root / "blobs/sha256" / descriptor["digest"][7:]
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    return descriptor


def _spoilt_layer(layout: Layout) -> dict[str, Any]:
    descriptor = layout.image(LAYER)
    _corrupt(layout, {"digest": sha(LAYER)})
    return descriptor


def _nested(layout: Layout) -> dict[str, Any]:
    found = layout.image(LAYER)
    for _ in range(6):
        found = layout.json({"schemaVersion": 2, "manifests": [found]}, INDEX)
    return found


def _linked_blob(layout: Layout) -> dict[str, Any]:
    descriptor = layout.image(LAYER)
    path = layout.root / "blobs/sha256" / sha(LAYER)[7:]
    path.rename(layout.root / "elsewhere")
    path.symlink_to(layout.root / "elsewhere")
    return descriptor


B13: dict[str, Callable[[Layout], dict[str, Any]]] = {
    "manifest digest": lambda layout: _corrupt(layout, layout.image(LAYER)),
    "manifest missing": lambda layout: layout.image(LAYER) | {"digest": sha(b"?")},
    "digest that is none": lambda layout: layout.image(LAYER) | {"digest": "sha256:../../../../etc/passwd"},
    "digest of another kind": lambda layout: layout.image(LAYER) | {"digest": "sha512:" + "0" * 128},
    "media type": lambda layout: layout.image(LAYER) | {"mediaType": "application/json"},
    "no layers": lambda layout: layout.image(LAYER, layers=None),
    "layers of another type": lambda layout: layout.image(LAYER, layers=["x"]),
    "foreign layer": lambda layout: layout.image(LAYER, layers=[{"mediaType": FOREIGN, "digest": sha(b"?")}]),
    "layer of an unknown type": lambda layout: layout.image(LAYER, layers=[layout.blob(LAYER, TAR + "+lz4")]),
    "layer missing": lambda layout: layout.image(LAYER, layers=[layout.blob(LAYER, TAR) | {"digest": sha(b"?")}]),
    "layer digest": _spoilt_layer,
    "layer behind a link": _linked_blob,
    "diff_id": lambda layout: layout.image(LAYER, diff_ids=[sha(b"?")]),
    "diff_ids too few": lambda layout: layout.image(LAYER, diff_ids=[]),
    "diff_id of another type": lambda layout: layout.image(LAYER, diff_ids=[5]),
    "config missing": lambda layout: layout.image(LAYER, config={"digest": sha(b"?")}),
    "config that is no object": lambda layout: layout.image(LAYER, config=layout.json([1], "x")),
    "manifest that is no object": lambda layout: layout.json([], MANIFEST),
    "manifest that is no JSON": lambda layout: layout.blob(b"{", MANIFEST),
    "manifest with a key twice": lambda layout: layout.blob(b'{"a":1,"a":2}', MANIFEST),
    "manifest nested to the skies": lambda layout: layout.blob(b"[" * 100_000, MANIFEST),
    "huge manifest": lambda layout: layout.blob(b" " * (5 << 20), MANIFEST),
    "indexes in indexes": _nested,
}


@pytest.mark.parametrize("attack", B13)
def test_b13_false_images_are_refused(tmp_path: Path, attack: str) -> None:
    layout = Layout(tmp_path / "layout")
    root = layout.index(B13[attack](layout))
    with pytest.raises(InputError):
        entries(root, tmp_path / "work")
    assert not list((tmp_path / "work").rglob("*.entries"))


def test_a_layer_without_a_digest_is_told_with_its_layout(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    root = layout.index(layout.image(LAYER, layers=[{"mediaType": TAR}]))
    with pytest.raises(InputError, match="digest") as refused:
        entries(root, tmp_path / "work")
    assert refused.value.where == str(root)


def test_a_blob_that_is_a_symlink_is_named(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    with pytest.raises(InputError, match=r"is a symlink[^$]*cp -rL"):
        entries(layout.index(_linked_blob(layout)), tmp_path / "work")


@pytest.mark.parametrize("broken", ["index.json", "oci-layout"])
@pytest.mark.parametrize("data", [None, b"", b"[]", b"{}", b"\xff", b'{"imageLayoutVersion":"2","manifests":{}}'])
def test_b13_broken_layouts_are_refused(tmp_path: Path, broken: str, data: bytes | None) -> None:
    layout = Layout(tmp_path / "layout")
    root = layout.index(layout.image(LAYER))
    (root / broken).unlink()
    if data is not None:
        (root / broken).write_bytes(data)
    for read in (
        lambda: entries(root, tmp_path / "work"),
        lambda: fingerprint(RootfsOptions((OciInput(str(root)),)), work=""),
    ):
        with pytest.raises(InputError):
            read()


def test_b13_a_bomb_of_a_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otabuild.rootfs.decompress.FLOOR", 16 << 20)
    plain = member(b"a", bytes(40 << 20)) + END
    layout = Layout(tmp_path / "layout")
    layers = [layout.blob(gzip.compress(plain), TAR + "+gzip")]
    with pytest.raises(InputError, match="expands"):
        entries(layout.index(layout.image(plain, layers=layers)), tmp_path / "work")


def docker_archive(path: Path, images: Any, files: dict[str, bytes]) -> Path:
    out = b"".join(member(name.encode(), data) for name, data in files.items())
    path.write_bytes(out + member(b"manifest.json", json.dumps(images).encode()) + END)
    return path


@pytest.mark.parametrize("form", ["docker-archive", "layout", "layout in a tar"])
@pytest.mark.parametrize(
    ("found", "due", "good"),
    [
        ("amd64", "x86_64", True), ("arm64", "arm64", True), ("arm64", "x86_64", False), ("386", "x86_64", False),
        ("amd64", "arm64", False), ("amd64", "riscv64", False), ("arm", "armhf", True), (None, "arm64", True),
    ],
)  # fmt: skip
def test_the_architecture_of_an_image_is_that_of_the_recipe(
    tmp_path: Path, form: str, found: str | None, due: str, good: bool
) -> None:
    docker = form == "docker-archive"
    if docker:
        config = json.dumps({"architecture": found, **json.loads(config_of(LAYER))}).encode()
        place = docker_archive(tmp_path / "a.tar", [{"Config": "c", "Layers": ["l"]}], {"l": LAYER, "c": config})
    else:
        layout = Layout(tmp_path / "layout")
        place = layout.index(layout.image(LAYER, arch=found))  # type: ignore[arg-type]  # an image that does not say
        if form == "layout in a tar":
            place = Path(shutil.make_archive(str(place), "tar", place))
    chosen = RootfsOptions(((DockerArchiveInput if docker else OciInput)(str(place), architecture=due),))
    if good:
        assert "/a" in paths(scan(chosen, euid=0, work=str(tmp_path / "work")).entries)
        return
    with pytest.raises(InputError, match="different architecture") as caught:
        list(scan(chosen, euid=0, work=str(tmp_path / "work")).entries)
    assert (caught.value.observed, caught.value.expected) == (found, due)


def config_of(*layers: bytes) -> bytes:
    return json.dumps({"rootfs": {"diff_ids": [sha(layer) for layer in layers]}}).encode()


def test_docker_archives(tmp_path: Path) -> None:
    one, two = member(b"a", b"1") + END, member(b"a", b"2") + END
    configs = [config_of(one), config_of(one, two)]
    files = {"1/layer.tar": one, "2/layer.tar": two} | {sha(config)[7:] + ".json": config for config in configs}
    names = list(files)[2:]
    images = [
        {"Config": names[0], "RepoTags": ["x:1"], "Layers": ["1/layer.tar"]},
        {"Config": names[1], "RepoTags": ["docker.io/library/x:2"], "Layers": ["1/layer.tar", "2/layer.tar"]},
    ]
    path = docker_archive(tmp_path / "a.tar", images, files)
    assert texts(entries(path, tmp_path / "work", "x:1", docker=True)) == {"/a": b"1"}
    assert texts(entries(path, tmp_path / "work", "x:2", docker=True)) == {"/a": b"2"}
    for tag, message in ((None, "several images"), ("y", "no image")):
        with pytest.raises(InputError, match=message):
            entries(path, tmp_path / "work", tag, docker=True)


def test_layers_of_a_docker_archive_behind_a_link(tmp_path: Path) -> None:
    layer = member(b"a", b"1") + END
    manifest = json.dumps([{"Config": "c", "RepoTags": None, "Layers": ["2/layer.tar"]}]).encode()
    data = member(b"1/layer.tar", layer) + member(b"2/layer.tar", kind=b"2", link=b"../1/layer.tar")
    (tmp_path / "a.tar").write_bytes(data + member(b"c", config_of(layer)) + member(b"manifest.json", manifest) + END)
    assert texts(entries(tmp_path / "a.tar", tmp_path / "work", docker=True)) == {"/a": b"1"}


@pytest.mark.parametrize(
    "images",
    [
        {}, [], [5], [{}], [{"Config": 5}], [{"Config": "nowhere", "Layers": []}], [{"Config": "c", "Layers": ["../../x"]}],
        [{"Config": "c", "Layers": "x"}], [{"Config": "c", "Layers": []}], [{"Config": "c", "Layers": [None]}],
        [{"Config": "loop", "Layers": []}], [{"Config": "0" * 64 + ".json", "Layers": ["l"]}],
    ],
)  # fmt: skip
def test_b13_false_docker_archives_are_refused(tmp_path: Path, images: Any) -> None:
    files = {"l": LAYER, "c": config_of(LAYER), "0" * 64 + ".json": config_of(LAYER)}
    path = docker_archive(tmp_path / "a.tar", images, files)
    path.write_bytes(member(b"loop", kind=b"2", link=b"loop") + path.read_bytes())
    with pytest.raises(InputError):
        entries(path, tmp_path / "work", docker=True)


def test_sources_of_every_kind_in_one_rootfs(tmp_path: Path) -> None:
    layout, work = Layout(tmp_path / "layout"), tmp_path / "work"
    root = layout.index(layout.image(LOWER + END))
    (tmp_path / "b.tar").write_bytes(member(b"a/x", b"tar") + member(b"n", b"tar") + END)
    (tmp_path / "dir/a").mkdir(parents=True)
    (tmp_path / "dir/n").write_bytes(b"dir")
    os.chmod(tmp_path / "dir/a", 0o711)
    sources = (
        OciInput(str(root)),
        TarInput(str(tmp_path / "b.tar")),
        DirectoryInput(str(tmp_path / "dir"), (0, 0)),
    )
    options = RootfsOptions(sources, clean=False, stub_resolv_conf=False)
    found = {entry.path: entry for entry in scan(options, euid=1000, work=str(work)).entries}
    assert texts(found) == {"/a-b": b"1", "/a/x": b"tar", "/a/y": b"1", "/f": b"1", "/n": b"dir"}
    assert oct(found["/a"].mode) == "0o40711"


def test_an_untagged_image_beside_a_tagged_one(tmp_path: Path) -> None:
    layout, work = Layout(tmp_path / "layout"), tmp_path / "work"
    other = layout.image(member(b"b") + END) | {"annotations": "none"}
    root = layout.index(other, named(layout.image(LAYER), "v1"))
    assert "/a" in entries(root, work, "v1")
    with pytest.raises(InputError, match="no image v2") as refused:
        entries(root, work, "v2")
    assert refused.value.observed == "tags v1"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.mkdir, "is not a plain file"),
        (os.mkfifo, "is not a plain file"),
        (lambda path: path.symlink_to("index.json"), "is a symlink"),
        (lambda _path: None, "the image lacks a file"),
    ],
)
def test_b13_a_blob_that_is_no_plain_file_is_named(tmp_path: Path, spoil: Callable[[Path], object], said: str) -> None:
    layout = Layout(tmp_path / "layout")
    root = layout.index(layout.image(LAYER))
    blob = root / "blobs/sha256" / sha(LAYER)[7:]
    blob.unlink()
    spoil(blob)
    with pytest.raises(InputError, match=said) as refused:
        entries(root, tmp_path / "work")
    assert refused.value.where == str(blob)


def test_b13_a_file_in_place_of_the_folder_of_blobs_is_named(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    root = layout.index(layout.image(LAYER))
    (root / "blobs").rename(tmp_path / "gone")
    (root / "blobs").write_bytes(b"")
    with pytest.raises(InputError, match="cannot read a file of the image") as refused:
        entries(root, tmp_path / "work")
    assert refused.value.observed == "Not a directory"


def test_a_tar_of_a_rootfs_is_no_docker_archive(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(LAYER)
    with pytest.raises(InputError, match=r"no manifest\.json") as refused:
        entries(tmp_path / "a.tar", tmp_path / "work", docker=True)
    assert "source: {tar: …}" in refused.value.hint


def test_the_fingerprint_of_an_image_in_an_archive_follows_the_archive(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "a.tar", [{"Config": "c", "Layers": ["l"]}], {"l": LAYER, "c": config_of(LAYER)})
    options = RootfsOptions((DockerArchiveInput(str(path)),))
    work = str(tmp_path / "work")
    before = fingerprint(options, work=work)
    assert fingerprint(options, work=work) == before
    os.utime(path, ns=(0, 0))
    assert fingerprint(options, work=work) != before
