"""What a recipe comes to: no key is forgotten, and each value names its true origin."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from otabuild.pipeline.effective import Effective, effective
from otabuild.recipe.load import load_recipe
from tests.recipe import world

RECIPE = """\
    recipe: 1
    output: dist/${git:describe}.zip
    annotations:
      platform: car
      org.example.own: mine
    rootfs:
      main:
        source:
          - {directory: a, owner: "1:2"}
          - {oci: "b:tag"}
          - {oci: "c@sha256:DIGEST"}
          - {oci: d}
        base-image: x
        architecture: arm64
        set: [{path: /bin/su, mode: "4755"}, {path: /bin/x, owner: "0:0"}]
      other: {source: {directory: e}, base-image: x, architecture: arm64, owner: "0:0"}
    payloads: [{ecu: main, rootfs: main}, {ecu: sub, rootfs: other}]
    storage: {bundle-level: 3}
"""


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Effective]:
    monkeypatch.chdir(tmp_path)
    Path("v.yaml").write_text(textwrap.dedent(RECIPE).replace("DIGEST", "0" * 64), encoding="utf-8")
    return {one.key: one for one in effective(load_recipe("v.yaml", world.IN_GIT), {})}


@pytest.mark.parametrize(
    ("key", "value", "origin"),
    [
        ("recipe", 1, "v.yaml:1"),
        ("name", "v", "default: the stem of its file"),
        ("output", "dist/v1.2.zip", "v.yaml:2, from dist/${git:describe}.zip"),
        ("output-dir", None, "default"),
        ("timestamp", "2026-01-02T03:04:05Z", "default: commit"),
        ("annotations.platform", "car", "v.yaml:4"),
        ('annotations."org.example.own"', "mine", "v.yaml:5"),
        ("annotations.project.name", None, "default"),
        ("rootfs.main.source[0].owner", "1:2", "v.yaml:9"),
        ("rootfs.main.source[1].oci", "b:tag", "v.yaml:10"),
        ("rootfs.main.source[2].oci", f"c@sha256:{'0' * 64}", "v.yaml:11"),
        ("rootfs.main.source[3].oci", "d", "v.yaml:12"),
        ("rootfs.main.owner", "keep", "default"),
        ("rootfs.main.os.name", None, "default: NAME of etc/os-release"),
        ("rootfs.main.set[0].mode", "4755", "v.yaml:15"),
        ("rootfs.main.set[1].mode", None, "default"),
        ("rootfs.other.source[0].directory", "e", "v.yaml:16"),
        ("rootfs.other.source[0].owner", None, "default: the `owner` of the rootfs"),
        ("rootfs.other.owner", "0:0", "v.yaml:16"),
        ("rootfs.other.set", (), "default"),
        ("payloads[0].release-keys", ("dev",), "default"),
        ("storage.bundle-level", 3, "v.yaml:18"),
        ("storage.compress-level", 9, "profile update"),
        ("storage.base", None, "default"),
        ("sign", None, "default"),
    ],
)
def test_a_value_and_its_origin(found: dict[str, Effective], key: str, value: object, origin: str) -> None:
    assert found[key] == Effective(key, value, origin)


def test_the_file_is_no_key(found: dict[str, Effective]) -> None:
    assert not [key for key in found if not key.isprintable() or "file" in key.split(".")]


def test_the_environment_decides_the_time(found: dict[str, Effective]) -> None:
    assert found["timestamp"].origin != "SOURCE_DATE_EPOCH"
    recipe = load_recipe("v.yaml", world.IN_GIT)
    again = {one.key: one for one in effective(recipe, {"SOURCE_DATE_EPOCH": "0"})}
    assert again["timestamp"].origin == "SOURCE_DATE_EPOCH"
