"""Images of the next generation: what is recognised, verified and refused by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from otabuild.cli import main
from otabuild.comparison.diff import diff
from otabuild.errors import FormatError
from otabuild.format.compat import Compat
from otabuild.image.image import Image, open_image
from otabuild.image.list_image import list_image
from otabuild.lint.lint_image import lint_image
from otabuild.stores.store_backend import StoreBackend
from otabuild.verification.verify import verify
from otabuild.verification.verify_resources import verify_resources
from tests import pki
from tests.image import forge, worlds
from tests.image.forge import Mutation, digest_text, sha256
from tests.stores.images import stored_members
from tests.stores.memory_store import MemoryStore

OCI = "application/vnd.oci.image.manifest.v1+json"
KIND = "application/vnd.tier4.ota.partition-based-ota-image"
NOTE = "vnd.tier4.ota.partition-image"
AGENT = "application/vnd.tier4.ota.update-agent"
COUNT = "vnd.tier4.ota.image"
DISK = b"an ext4 file system " * 300
Change = Callable[[Any], Any]


class Parts:
    """The blobs of a partition-based payload and an update agent package, with changes of their documents."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def put(self, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        self.blobs[f"blobs/sha256/{sha256(data).hex()}"] = data
        return {"mediaType": media_type, "digest": digest_text(data), "size": len(data), **more}

    def payload(
        self, config: Change = lambda _: None, manifest: Change = lambda _: None, ecu: str = "part"
    ) -> dict[str, Any]:
        said = {f"{NOTE}.uncompressed.digest": digest_text(DISK), f"{NOTE}.uncompressed.size": len(DISK)}
        frame = zstandard.ZstdCompressor(write_checksum=True, write_content_size=True).compress(DISK)
        root = self.put(frame, f"{KIND}.partition.v1+zstd", annotations=said)
        boot = self.put(b"a tar of kernels", f"{KIND}.boot-files.v1.tar")
        data = self.put(b"squashfs of maps", f"{KIND}.data-image.v1")
        layers = [root, boot, data]
        content: dict[str, Any] = {
            "schemaVersion": 1,
            "mediaType": f"{KIND}.config.v1+json",
            "resource_digest_alg": "sha256",
            "architecture": "x86_64",
            "image_version": "1.2.0",
            "delivery": "direct",
            "partitions": [
                {"name": "rootfs", "action": "write", "image": root},
                {"name": "boot", "action": "write", "image": boot},
                {"name": "identity", "action": "keep"},
            ],
            "data_images": [{"name": "maps", "version": "1", "mount": "/opt/maps", "requires": {}, "image": data}],
            "labels": {
                "vnd.tier4.image.base-image": "ubuntu:24.04",
                f"{COUNT}.blobs-count": len(layers),
                f"{COUNT}.blobs-size": sum(layer["size"] for layer in layers),
            },
        }
        config(content)
        annotations = {f"{forge.PILOT}.ecu": ecu, "vnd.tier4.ota.release-key": "dev"}
        document = {
            "schemaVersion": 2,
            "mediaType": OCI,
            "artifactType": f"{KIND}.v1",
            "config": self.put(json.dumps(content).encode(), f"{KIND}.config.v1+json"),
            "layers": layers,
            "annotations": {**annotations, f"{forge.PILOT}.ecu.architecture": "x86_64"},
        }
        manifest(document)
        return self.put(json.dumps(document).encode(), OCI, artifactType=f"{KIND}.v1", annotations=annotations)

    def agent(self, manifest: Change = lambda _: None) -> dict[str, Any]:
        facts = {"vnd.tier4.ota.update-agent.type": "tier4.ota.agent.v1", "vnd.tier4.ota.update-agent.version": "1"}
        document = {
            "schemaVersion": 1,
            "mediaType": OCI,
            "artifactType": f"{AGENT}.release-package.v1",
            "layers": [self.put(b"an agent", f"{AGENT}.bundle.v1", annotations=facts)],
        }
        manifest(document)
        kind = f"{AGENT}.release-package"
        return self.put(json.dumps(document).encode(), f"{kind}.manifest.v1+json", artifactType=f"{kind}.v1")

    def stages(self, *entries: dict[str, Any], alone: bool = False) -> dict[str, Mutation]:
        """Return the stages of an image with these entries; alone, without what the forged image has otherwise."""

        def files(names: dict[str, bytes]) -> dict[str, bytes]:
            return dict(self.blobs) if alone else {**names, **self.blobs}

        return {"manifests": lambda found: [*entries, *([] if alone else found)], "blob_files": files}


def image_with(folder: Path, stages: dict[str, Mutation]) -> Path:
    return forge.forge(**stages).artifact(folder / "image.zip")


@pytest.fixture(params=["beside", "alone", "with agent"])
def future(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    parts = Parts()
    entries = [parts.payload(), *([parts.agent()] if request.param == "with agent" else [])]
    return image_with(tmp_path, parts.stages(*entries, alone=request.param == "alone"))


def test_it_is_verified_listed_and_not_deployed(future: Path) -> None:
    report = worlds.verified(future)
    assert report.findings == ()
    with open_image(future) as image:
        assert report.counts["payloads"] == len(image.payloads) + 1
        assert list_image(image).partition_payloads == ("part/dev",)
        assert verify_resources(image).ok
        with pytest.raises(FormatError, match="partition-based payload"):
            image.payload("part")


def test_it_is_verified_in_a_store_that_lists_nothing(future: Path) -> None:
    store = MemoryStore()
    with open_image(future) as image:
        for member in stored_members(image):
            store.put(member.name, member)
    with Image(StoreBackend("memory:", store, "", can_list=False), Compat()) as image:
        assert verify(image, forge.policy(), pki.NOW).findings == ()


def test_lint_and_diff_say_what_it_means(future: Path) -> None:
    with open_image(future) as image:
        found = [finding for finding in lint_image(image, pki.NOW) if finding.rule == "refused-index"]
        assert found
        assert all("otaclient to 3.14 refuses the index" in finding.what for finding in found)
        assert "partition-based payload part/dev" in diff(image, image).not_compared


def test_commands_on_an_image_without_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = Parts()
    path = str(image_with(tmp_path, parts.stages(parts.payload(), alone=True)))
    assert worlds.verified(Path(path)).contents_checked, "it has none"
    for command in ("inspect-index", "list-image", "verify-resources"):
        assert main([command, path]) == 0
    assert "partition-based payload part/dev" in capsys.readouterr().out
    assert main(["get-resourcetable", path, "-o", str(tmp_path / "t")]) == 1
    assert main(["ls", path, "--ecu-id", "part", "/"]) == 1
    said = capsys.readouterr().err
    assert "no resource table" in said
    assert "does not deploy" in said


def test_data_images_are_optional(tmp_path: Path) -> None:
    def without(value: dict[str, Any]) -> None:
        del value["data_images"]
        value["labels"] |= {
            f"{COUNT}.blobs-count": 2,
            f"{COUNT}.blobs-size": sum(part["image"]["size"] for part in value["partitions"][:2]),
        }

    parts = Parts()
    payload = parts.payload(without, lambda value: value["layers"].pop())
    stages = parts.stages(payload)
    parts.blobs = {name: data for name, data in parts.blobs.items() if data != b"squashfs of maps"}
    assert worlds.verified(image_with(tmp_path, stages)).findings == ()


def _keep(_: Any) -> None:
    """Change nothing."""


def _flipped(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


BROKEN: dict[str, dict[str, Change]] = {
    "no delivery": {"config": lambda value: value.pop("delivery")},
    "two partitions of a name": {"config": lambda value: value["partitions"].append({"name": "boot"})},
    "labels that do not count": {"config": lambda value: value["labels"].update({f"{COUNT}.blobs-count": 9})},
    "a layer too many": {"manifest": lambda value: value["layers"].append(value["layers"][0])},
    "a layer too few": {"manifest": lambda value: value["layers"].pop()},
    "layers in another order": {"manifest": lambda value: value["layers"].reverse()},
    "another ecu": {"manifest": lambda value: value["annotations"].update({f"{forge.PILOT}.ecu": "other"})},
    "no artifact type": {"manifest": lambda value: value.pop("artifactType")},
    "a package of no vendor": {"config": lambda value: value.update(package=value["partitions"][1]["image"])},
}


@pytest.mark.parametrize("name", BROKEN)
def test_documents_that_contradict_each_other_are_refused(name: str, tmp_path: Path) -> None:
    parts = Parts()
    changes = BROKEN[name]
    payload = parts.payload(changes.get("config", _keep), changes.get("manifest", _keep))
    path = image_with(tmp_path, parts.stages(payload))
    assert worlds.errors_of(path) == {"partition"}


@pytest.mark.parametrize(
    "said", [{"digest": _flipped("x")}, {"size": 5}, {"size": 10**9}, {"digest": None}, {"digest": "md5:0"}]
)
def test_what_a_compressed_layer_says_of_its_content_is_checked(said: dict[str, Any], tmp_path: Path) -> None:
    def lie(layer: dict[str, Any]) -> None:
        for key, value in said.items():
            layer["annotations"][f"{NOTE}.uncompressed.{key}"] = value
            if value is None:
                del layer["annotations"][f"{NOTE}.uncompressed.{key}"]

    def config(value: dict[str, Any]) -> None:
        lie(value["partitions"][0]["image"])  # the same object is a layer of the manifest

    parts = Parts()
    assert worlds.errors_of(image_with(tmp_path, parts.stages(parts.payload(config)))) == {"partition"}


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(schemaVersion=2),
        lambda value: value["layers"][0].update(mediaType="application/other"),
        lambda value: value["layers"][0].pop("annotations"),
    ],
)
def test_an_update_agent_that_does_not_follow_the_format_is_refused(change: Change, tmp_path: Path) -> None:
    parts = Parts()
    assert worlds.errors_of(image_with(tmp_path, parts.stages(parts.agent(change)))) == {"update-agent"}


@pytest.mark.parametrize("stored", [None, b"squashfs of map~", b"squashfs of maps~"])
def test_a_missing_or_changed_layer_is_found(stored: bytes | None, tmp_path: Path) -> None:
    parts = Parts()
    stages = parts.stages(parts.payload())
    name = next(name for name, data in parts.blobs.items() if data == b"squashfs of maps")
    del parts.blobs[name]
    if stored is not None:
        parts.blobs[name] = stored
    assert "partition" in worlds.errors_of(image_with(tmp_path, stages))


@pytest.mark.parametrize("ecus", [("part", "part"), ("main",)])
def test_one_identifier_names_one_payload_of_either_kind(ecus: tuple[str, ...], tmp_path: Path) -> None:
    parts = Parts()
    path = image_with(tmp_path, parts.stages(*(parts.payload(ecu=ecu) for ecu in ecus)))
    report = worlds.verified(path)
    assert any("two payloads share ecu and release key" in finding.what for finding in report.findings)


def test_a_file_based_payload_needs_the_table(tmp_path: Path) -> None:
    parts = Parts()
    stages = parts.stages(parts.payload())
    stages["manifests"] = lambda found: [parts.payload(), found[0]]
    report = worlds.verified(image_with(tmp_path, stages))
    assert any("0 resource tables" in finding.what for finding in report.findings)
