"""The members of an image, and the blobs of sys_config and otaclient package."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otabuild.assembly.assemble import add_otaclient_package, add_sys_config, members, stored_files
from otabuild.errors import FormatError, InputError, IntegrityError, StorageError
from otabuild.format.digest import Descriptor, blob_name, format_digest
from otabuild.format.media_types import OTACLIENT_ARTIFACT, OTACLIENT_MANIFEST, SYS_CONFIG
from otabuild.storage.cache import Cache
from otabuild.storage.member import DamagedBlobError, document
from tests.assembly.worlds import blob, noise, stored_bytes

PACKAGES = {"a.squashfs": noise(3 << 20, 1), "b.squashfs": b"b", "c.patch": b"patch"}


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(str(tmp_path / "cache")) as cache:
        yield cache


def release(folder: Path, **changes: Any) -> str:
    folder.mkdir()
    packages = []
    for name, data in PACKAGES.items():
        (folder / name).write_bytes(data)
        packages.append(
            {
                "filename": name,
                "version": "1",
                "type": name.partition(".")[2],
                "architecture": "arm64",
                "size": len(data),
                "checksum": format_digest(blob(data).digest),
            }
        )
    packages[0] |= changes
    (folder / "manifest.json").write_text(json.dumps({"schema_version": "1", "date": "today", "packages": packages}))
    return str(folder)


def test_a_sys_config_is_stored_unchanged(tmp_path: Path, cache: Cache) -> None:
    raw = b"hostname:   main # as it is\n"
    (tmp_path / "sys.yaml").write_bytes(raw)
    assert add_sys_config(str(tmp_path / "sys.yaml"), cache) == Descriptor.of(raw, SYS_CONFIG)
    assert stored_bytes(cache, blob(raw)) == raw


def test_a_sys_config_that_clients_refuse_is_not_stored(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "sys.yaml").write_bytes(b"[")
    with pytest.raises(FormatError) as caught:
        add_sys_config(str(tmp_path / "sys.yaml"), cache)
    assert str(tmp_path / "sys.yaml") in str(caught.value)
    assert not cache.has(blob(b"["))


def test_a_sys_config_over_a_mebibyte_is_refused(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "sys.yaml").write_bytes(b"hostname: a\n" + b"#" * (1 << 20))
    with pytest.raises(StorageError, match="file too large"):  # and is not read whole
        add_sys_config(str(tmp_path / "sys.yaml"), cache)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_release_is_stored(tmp_path: Path, cache: Cache, legacy: bool) -> None:
    folder = release(tmp_path / "release")
    stored = add_otaclient_package(folder, cache, legacy=legacy)
    raw = (tmp_path / "release/manifest.json").read_bytes()
    squashfs = [blob(PACKAGES["a.squashfs"]), blob(PACKAGES["b.squashfs"])]
    assert (stored.descriptor.media_type, stored.descriptor.artifact_type) == (OTACLIENT_MANIFEST, OTACLIENT_ARTIFACT)
    manifest = stored.blobs[1]
    assert stored.descriptor.digest == manifest.digest
    assert stored.blobs == [blob(raw), manifest, *squashfs]
    more = {"c.patch": blob(PACKAGES["c.patch"])} if legacy else {}
    folder_files = {"manifest.json": blob(raw), "a.squashfs": squashfs[0], "b.squashfs": squashfs[1]}
    assert stored.folder == {**folder_files, **more}
    for each in (*stored.blobs, *stored.folder.values()):
        assert blob(stored_bytes(cache, each)) == each


def test_a_release_manifest_over_a_mebibyte_is_refused(tmp_path: Path, cache: Cache) -> None:
    folder = release(tmp_path / "release")
    with open(os.path.join(folder, "manifest.json"), "ab") as file:
        file.write(b" " * (1 << 20))
    with pytest.raises(StorageError, match="file too large"):  # and is not read whole
        add_otaclient_package(folder, cache, legacy=False)


def test_a_release_manifest_that_is_wrong_is_named(tmp_path: Path, cache: Cache) -> None:
    folder = release(tmp_path / "release", size=-1)
    with pytest.raises(FormatError) as caught:
        add_otaclient_package(folder, cache, legacy=False)
    assert caught.value.where == os.path.join(folder, "manifest.json")


@pytest.mark.parametrize(
    "changes", [{"size": 1}, {"size": (3 << 20) + 1}, {"checksum": format_digest(blob(b"x").digest)}], ids=repr
)
def test_a_package_that_is_not_what_the_release_says(tmp_path: Path, cache: Cache, changes: dict[str, Any]) -> None:
    folder = release(tmp_path / "release", **changes)
    with pytest.raises(IntegrityError, match=r"is not what its manifest\.json says") as caught:
        add_otaclient_package(folder, cache, legacy=False)
    assert caught.value.where == os.path.join(folder, "a.squashfs")
    data = PACKAGES["a.squashfs"]
    size = changes.get("size", len(data))
    checksum = changes.get("checksum", format_digest(blob(data).digest))
    read = data[: size + 1]
    assert caught.value.observed == f"{len(read)} bytes, {format_digest(blob(read).digest)}"
    assert caught.value.expected == f"{size} bytes, {checksum}"


@pytest.mark.parametrize("kind", ["missing", "link"])
def test_a_package_that_cannot_be_read(tmp_path: Path, cache: Cache, kind: str) -> None:
    folder = release(tmp_path / "release")
    (tmp_path / "release/a.squashfs").unlink()
    if kind == "link":
        (tmp_path / "release/a.squashfs").symlink_to("b.squashfs")
    with pytest.raises(InputError, match="cannot read a file of the otaclient release") as caught:
        add_otaclient_package(folder, cache, legacy=False)
    assert caught.value.where == os.path.join(folder, "a.squashfs")
    reason = {"missing": "No such file or directory", "link": "Too many levels of symbolic links"}
    assert caught.value.observed == reason[kind]


def test_a_package_that_is_a_pipe_is_not_waited_for(tmp_path: Path, cache: Cache) -> None:
    folder = release(tmp_path / "release")
    (tmp_path / "release/a.squashfs").unlink()
    os.mkfifo(tmp_path / "release/a.squashfs")
    with pytest.raises(IntegrityError):
        add_otaclient_package(folder, cache, legacy=False)


@pytest.mark.parametrize("signature", [None, b"a.b.c"])
def test_every_file_of_an_image_is_listed(cache: Cache, signature: bytes | None) -> None:
    one = cache.add(b"one")
    found = members(b"{}", signature, [one], cache, [document("extra", b"x")])
    assert {member.name: b"".join(member.read()) for member in found} == {
        "index.json": b"{}",
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "extra": b"x",
        **({} if signature is None else {"index.jwt": signature}),
        blob_name(one.digest): b"one",
    }
    assert [member.digest for member in found if member.name.startswith("blobs/")] == [one.digest]
    assert len(members(b"{}", None, [], cache)) == 2


def test_a_blob_that_is_no_longer_stored_is_named(cache: Cache) -> None:
    with pytest.raises(DamagedBlobError) as caught:
        list(stored_files({"name": blob(b"gone")}, cache))
    assert (caught.value.where, caught.value.digest) == ("name", blob(b"gone").digest)


def test_blobs_of_a_base_come_from_it_and_keep_their_digests(cache: Cache) -> None:
    theirs, ours = blob(b"of the base"), cache.add(b"of the cache")
    contents = {theirs: [b"of the base"]}
    found = {
        one.name: one for one in members(b"{}", None, [theirs, ours], cache, of_base={theirs: contents.__getitem__})
    }
    for one, content in ((theirs, b"of the base"), (ours, b"of the cache")):
        member = found[blob_name(one.digest)]
        assert (member.size, member.digest, b"".join(member.read())) == (one.size, one.digest, content)
