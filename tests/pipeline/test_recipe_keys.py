"""Every recipe key that becomes an annotation or a field of a document is seen there in a built image (sections 2 to 4)."""

from __future__ import annotations

from pathlib import Path

from otabuild.format import annotations as ann
from otabuild.image.image import open_image
from tests.pipeline.signing_world import World

RECIPE = """\
recipe: 1
output: dist/v.zip
timestamp: 2025-12-31T00:00:00Z
annotations:
  platform: the platform
  project: {name: a, version: "b", source-repo: c, release-commit: d, release-branch: e}
  web-auto: {project: f, project-id: g, catalog: h, catalog-id: i, env: j, cicd: {release-id: "k", release-name: l}}
  org.example.own: its own
rootfs:
  main:
    source: {directory: rootfs}
    base-image: the base
    architecture: arm64
    os: {name: the system, version: "12.1"}
    owner: "0:0"
payloads:
  - ecu: the-ecu
    rootfs: main
    release-keys: [prd]
    hardware: {model: the model, series: the series}
    description: the description
"""
BSP = "R35.4.1"
INDEX = {
    "platform": "the platform",
    "project.name": "a",
    "project.version": "b",
    "project.source-repo": "c",
    "project.release-commit": "d",
    "project.release-branch": "e",
    "web-auto.project": "f",
    "web-auto.project-id": "g",
    "web-auto.catalog": "h",
    "web-auto.catalog-id": "i",
    "web-auto.env": "j",
    "web-auto.cicd.release-id": "k",
    "web-auto.cicd.release-name": "l",
}
"""The text of each short key in the recipe above."""


def test_every_key_is_seen_at_its_place(world: World) -> None:
    Path("rootfs/etc/nv_tegra_release").write_text("# R35 (release), REVISION: 4.1, GCID: 1, BOARD: t186ref\n")
    (world.folder / "v.yaml").write_text(RECIPE)
    world.build()
    with open_image(str(world.artifact)) as image:
        index = image.index.annotations
        [payload] = image.payloads
        manifest, config = payload.manifest.to_value(), payload.config.to_value()
    assert {short: index[key] for short, key in ann.INDEX_SHORT_KEYS.items()} == INDEX
    assert index["org.example.own"] == "its own"
    assert manifest["annotations"] == {
        ann.ECU: "the-ecu",
        ann.RELEASE_KEY: "prd",
        ann.ARCHITECTURE: "arm64",
        ann.PLATFORM: "the platform",
        ann.HARDWARE_MODEL: "the model",
        ann.HARDWARE_SERIES: "the series",
        ann.BSP_VERSION: BSP,
    }
    texts = {ann.BASE_IMAGE: "the base", ann.OS_NAME: "the system", ann.OS_VERSION: "12.1", ann.BSP_VERSION: BSP}
    assert {key: config["labels"][key] for key in ann.LABEL_STRINGS} == texts
    assert config["description"] == "the description"
    assert (config["architecture"], config["os"], config["os.version"]) == ("arm64", "the system", "12.1")
    assert index.keys() - {"org.example.own"} == ann.INDEX_STRINGS | ann.INDEX_COUNTS - {ann.SIGNED_AT}
    assert manifest["annotations"].keys() == ann.PAYLOAD_STRINGS
    assert config["labels"].keys() == ann.LABEL_STRINGS | ann.LABEL_COUNTS
