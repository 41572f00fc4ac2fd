"""The otaclient package of an image and the files for legacy clients, as verification sees them (section 9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.image import forge, worlds
from tests.image.forge import Mutation
from tests.image.packages import (
    FOLDER,
    OTHER_RELEASE,
    OTHER_SQUASHFS,
    RELEASE,
    SIGNATURE,
    SQUASHFS,
    with_package,
)


@pytest.mark.parametrize("legacy", [(), (*SIGNATURE, "manifest.json", "otaclient.squashfs")])
def test_good_package_has_no_finding(legacy: tuple[str, ...], tmp_path: Path) -> None:
    path = forge.forge(**with_package(legacy=legacy)).artifact(tmp_path / "image.zip")
    assert worlds.verified(path, strict=True).findings == ()


@pytest.mark.parametrize(
    "legacy",
    [SIGNATURE, (*SIGNATURE, "manifest.json"), (*SIGNATURE, "otaclient.squashfs"), ("manifest.json",)],
)
def test_legacy_files_that_are_missing_are_found(legacy: tuple[str, ...], tmp_path: Path) -> None:
    assert worlds.errors_of(forge.forge(**with_package(legacy=legacy)).artifact(tmp_path / "image.zip")) == {"legacy"}


def with_folder(stages: dict[str, Mutation], files: dict[str, bytes]) -> dict[str, Mutation]:
    """Add a legacy folder with these files, and the folders above them."""
    more = {FOLDER + name: data for name, data in files.items()}
    more |= {name[: end + 1]: b"" for name in list(more) for end, letter in enumerate(name) if letter == "/"}
    before = stages.get("files", lambda found: found)

    def added(found: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        old = before(found)
        return [*old[:2], *sorted({**dict(old[2:]), **more}.items())]

    return {**stages, "files": added}


@pytest.mark.parametrize("has_package", [True, False])
@pytest.mark.parametrize(
    ("files", "notes"),
    [
        ({"README": b"hello"}, 1),
        ({"notes/sub/a.txt": b"a", "b": b""}, 2),
        ({"manifest.json": OTHER_RELEASE, "otaclient.squashfs": OTHER_SQUASHFS}, 2),
        ({"manifest.json": OTHER_RELEASE}, 2),
        ({"manifest.json": OTHER_RELEASE, "otaclient.squashfs": SQUASHFS}, 3),
        ({"manifest.json": b"{}"}, 2),
    ],
)
def test_a_legacy_folder_that_is_not_the_packages_is_noted(
    files: dict[str, bytes], notes: int, tmp_path: Path, *, has_package: bool
) -> None:
    forged = forge.forge(**with_folder(with_package() if has_package else {}, files))
    for path in (forged.artifact(tmp_path / "image.zip"), forged.directory(tmp_path / "image")):
        report = worlds.verified(path)
        assert [(finding.rule, finding.severity) for finding in report.findings] == [("legacy", "note")] * notes
        assert report.ok


def test_more_files_beside_the_packages_own_are_noted(tmp_path: Path) -> None:
    legacy = (*SIGNATURE, "manifest.json", "otaclient.squashfs")
    path = forge.forge(**with_folder(with_package(legacy=legacy), {"README": b""})).artifact(tmp_path / "image.zip")
    assert [(found.where, found.severity) for found in worlds.verified(path).findings] == [(FOLDER + "README", "note")]


def test_another_file_under_the_packages_own_name_is_found(tmp_path: Path) -> None:
    changed = with_folder(with_package(), {"manifest.json": RELEASE, "otaclient.squashfs": b"something else"})
    assert worlds.errors_of(forge.forge(**changed).artifact(tmp_path / "image.zip")) == {"legacy"}


def test_descriptor_without_its_artifact_type_is_found(tmp_path: Path) -> None:
    changed = with_package(descriptor=lambda named: named.pop("artifactType"))
    assert worlds.errors_of(forge.forge(**changed).artifact(tmp_path / "image.zip")) == {"index.unknown"}


def test_manifest_without_its_artifact_type_is_noted(tmp_path: Path) -> None:
    changed = with_package(manifest=lambda value: value.pop("artifactType"))
    report = worlds.verified(forge.forge(**changed).artifact(tmp_path / "image.zip"))
    assert [finding.rule for finding in report.findings] == ["otaclient.artifact-type"]
    assert report.ok


@pytest.mark.parametrize("size", [float(len(SQUASHFS)), str(len(SQUASHFS)), 5])
def test_annotation_that_is_not_the_number_of_the_release_is_found(size: object, tmp_path: Path) -> None:
    changed = with_package(manifest=lambda value: value["layers"][0]["annotations"].update(size=size))
    assert worlds.errors_of(forge.forge(**changed).artifact(tmp_path / "image.zip")) == {"otaclient"}


@pytest.mark.parametrize("content", [b"hsqs" + bytes(99), b"hsqs" + bytes(99) + b"~"])
def test_damaged_layer_of_the_package_is_found_as_the_packages(content: bytes, tmp_path: Path) -> None:
    name = f"blobs/sha256/{forge.sha256(SQUASHFS).hex()}"
    stages = with_package()
    packed = stages["blob_files"]
    stages["blob_files"] = lambda names: packed(names) or names.update({name: content})
    assert worlds.errors_of(forge.forge(**stages).artifact(tmp_path / "image.zip")) == {"otaclient", "blob"}
