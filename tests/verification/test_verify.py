"""What verification reports of images that are unusual but good, and how it stops."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from otabuild.image.image import open_image
from otabuild.verification.verify import verify
from tests import pki
from tests.image import forge, worlds
from tests.verification.tampering import constant, put


def test_an_image_that_is_not_signed_has_that_error_alone(tmp_path: Path) -> None:
    unsigned = {"token": constant(b""), "index": put(f"annotations|{forge.COUNT}.signed-at", ...)}
    path = forge.forge(**unsigned).artifact(tmp_path / "image")
    report = worlds.verified(path)
    assert [(finding.rule, finding.what) for finding in report.findings] == [("signature", "the image is not signed")]
    assert not report.ok
    assert not report.contents_checked, "whoever made it may have made them endless"
    meant = worlds.verified(path, without_signature=True)
    assert meant.ok
    assert meant.contents_checked


def test_without_an_anchor_no_image_is_valid(tmp_path: Path) -> None:
    with open_image(forge.forge().artifact(tmp_path / "image")) as image:
        report = verify(image, None, pki.NOW)
    assert not report.ok
    assert [(finding.rule, finding.what) for finding in report.findings] == [("signature", "no trust anchor was given")]
    assert report.signature is not None
    assert report.signature.anchor is None


def test_the_size_of_the_rootfs_is_a_label_that_early_builders_left_out(tmp_path: Path) -> None:
    path = forge.forge(config=put(f"labels|{forge.LABEL}.size", ...)).artifact(tmp_path / "image")
    assert worlds.verified(path, strict=True).findings == ()


@pytest.mark.parametrize("said", [True, False])
def test_the_release_key_stands_in_the_manifest(tmp_path: Path, said: bool) -> None:
    without = {} if said else {"manifest": put("annotations|vnd.tier4.ota.release-key", ...)}
    found = worlds.verified(forge.forge(**without).artifact(tmp_path / "image")).findings
    due = [] if said else [("manifest.annotations", "annotation vnd.tier4.ota.release-key is missing")]
    assert [(finding.rule, finding.what) for finding in found] == due


def test_the_modes_of_a_folder_are_those_of_its_machine(tmp_path: Path) -> None:
    path = forge.forge().directory(tmp_path / "image")
    (path / "index.json").chmod(0o600)
    (path / "blobs").chmod(0o700)
    assert worlds.verified(path, strict=True).findings == ()


def test_what_is_in_a_folder_and_in_no_image_is_found_by_its_mode_or_name(tmp_path: Path) -> None:
    path = forge.forge().directory(tmp_path / "image")
    os.mkfifo(path / "index.jwt.old", 0o600)
    (path / "blobs/link").symlink_to("sha256")
    (path / "notes").touch()
    found = {(finding.where, finding.what, finding.observed) for finding in worlds.verified(path).findings}
    assert found >= {
        ("index.jwt.old", "neither a file nor a folder", "0o10600"),
        ("blobs/link", "neither a file nor a folder", "0o120777"),
        ("notes", "does not belong in an image", None),
    }


def test_an_interrupt_stops_all_threads_before_they_have_hashed_everything(tmp_path: Path) -> None:
    """Blobs that nothing refers to are hashed last, in batches, each in its thread."""

    def many(names: dict[str, bytes]) -> dict[str, bytes]:
        blobs = [b"%d" % number for number in range(1000)]
        return names | {f"blobs/sha256/{forge.sha256(blob).hex()}": blob for blob in blobs}

    hashed: list[int] = []

    def progress(done: int, _total: int) -> None:
        hashed.append(done)
        time.sleep(0.002)
        if len(hashed) == 200:
            raise KeyboardInterrupt

    with (
        open_image(forge.forge(blob_files=many).artifact(tmp_path / "image")) as image,
        pytest.raises(KeyboardInterrupt),
    ):
        verify(image, forge.policy(), pki.NOW, progress=progress)
    assert len(hashed) < 1000


def test_a_report_is_plain_values(tmp_path: Path) -> None:
    path = forge.forge(token=constant(b"")).artifact(tmp_path / "image")
    value: dict[str, Any] = worlds.verified(path).to_value()
    assert value["ok"] is False
    assert value["signature"] is None
    assert {finding["rule"] for finding in value["findings"]} >= {"signature"}
