"""The same input produces the same bytes; otherwise, repro reports the first difference."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from otabuild.image.image import open_image
from otabuild.pipeline.first_difference import first_difference
from tests.shell.projects import WORK, Project


def test_a_recipe_is_reproducible(project: Project) -> None:
    done = project.otabuild("repro", "recipes/vehicle.yaml")
    assert done.code == 0, done.err
    assert project.otabuild("build", "recipes/vehicle.yaml").code == 0
    assert done.out == f"vehicle: reproducible  sha256:{project.sha256}\n"
    assert not [path for path in project.files() if path.startswith(f"{WORK}/.repro/vehicle")]


def test_doit_repro(project: Project) -> None:
    done = project.doit("repro:vehicle")
    assert done.code == 0, done.err
    assert "vehicle: reproducible" in done.out


@pytest.mark.parametrize("variable", ["TZ", "OTABUILD_JOBS"])
def test_what_comes_from_the_surroundings_is_named(project: Project, variable: str) -> None:
    project.edit("platform: test", f'platform: "on ${{env:{variable}}}"')
    project.env = {variable: "3"}
    done = project.doit("repro") if variable == "TZ" else project.otabuild("repro", "recipes/vehicle.yaml")
    assert done.code == 1
    assert "vehicle: NOT reproducible" in done.out
    assert "platform" in done.out
    with open_image(project.root / WORK / ".repro/vehicle/0/image.zip") as image:
        assert image.payloads


def test_a_timestamp_of_now_is_the_same_in_both(project: Project) -> None:
    project.edit("timestamp: 2025-01-01T00:00:00Z", "timestamp: now")
    assert project.otabuild("repro", "recipes/vehicle.yaml").code == 0


@pytest.mark.parametrize("key", ["external", '{command: ["false"]}'])
def test_signers_that_never_sign_alike(project: Project, key: str) -> None:
    project.edit("key: {file: ../pki/sign.key}", f"key: {key}")
    done = project.otabuild("repro", "recipes/vehicle.yaml", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["reproducible"], found["signature"]) == (True, False)


def test_a_build_that_fails(project: Project) -> None:
    shutil.rmtree(project.root / "rootfs")
    done = project.otabuild("repro", "recipes/vehicle.yaml")
    assert done.code == 1
    assert "a build failed under different conditions" in done.err


def change_content(project: Project) -> None:
    (project.root / "rootfs/usr/bin/tool").write_bytes(b"other")


def change_mode(project: Project) -> None:
    (project.root / "rootfs/etc/hostname").chmod(0o600)


def change_annotation(project: Project) -> None:
    project.edit("platform: test", "platform: other")


def change_storage(project: Project) -> None:
    project.edit("rootfs:\n", "storage: {profile: reference}\nrootfs:\n")


def change_architecture(project: Project) -> None:
    project.edit("x86_64", "arm64")


def change_payload(project: Project) -> None:
    project.edit("{ecu: main,", "{ecu: other,")


def change_key(project: Project) -> None:
    project.edit("chain: [../pki/intermediate.pem]", "chain: []")
    project.edit("verify: {trust: [../pki/root-ca.pem]}", "")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (change_content, "path /usr/bin/tool of payload main/dev: content"),
        (change_mode, "path /etc/hostname of payload main/dev: mode"),
        (change_annotation, "platform"),
        (change_storage, "resource table: "),
        (change_architecture, "config of payload main/dev: architecture"),
        (change_payload, "payload main/dev: only in the first"),
        (change_key, "index.jwt"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_first_difference(project: Project, folder: Path, change: object, told: str) -> None:
    first = folder / "first.zip"
    project.build()
    shutil.copy(project.artifact, first)
    assert callable(change)
    change(project)
    project.build()
    with open_image(first) as one, open_image(project.artifact) as other:
        assert told in (first_difference(one, other) or "")
        assert first_difference(one, one) is None
