"""verify-resources: every stored blob, or those that are named, against their digests."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabuild.errors import FormatError, IntegrityError
from otabuild.format.compat import Compat
from otabuild.image.image import Image, open_image
from otabuild.storage.member import document
from otabuild.stores.store_artifact_backend import StoreArtifactBackend
from otabuild.verification.verify_resources import ResourcesReport, verify_resources
from tests.image import forge
from tests.image.forge import digest_text
from tests.stores.memory_store import MemoryStore
from tests.verification.tampering import sql

GOOD, DAMAGED, MISSING = (digest_text(content) for content in (forge.SLICES[0], forge.RANDOM, forge.SLICES[1]))


def damage(names: dict[str, bytes]) -> dict[str, bytes]:
    """Change a byte of one blob, and leave another out."""
    lost = f"blobs/sha256/{MISSING[7:]}"
    damaged = f"blobs/sha256/{DAMAGED[7:]}"
    return {name: data[:-1] + b"~" if name == damaged else data for name, data in names.items() if name != lost}


def checked(path: Path, *digests: str) -> ResourcesReport:
    with open_image(path) as image:
        return verify_resources(image, digests)


@pytest.fixture(params=["artifact", "directory"])
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path: Path = getattr(forge.forge(blob_files=damage), request.param)(tmp_path / "image")
    return path


def test_every_blob_is_hashed(tmp_path: Path) -> None:
    forged = forge.forge()
    report = checked(forged.artifact(tmp_path / "image"))
    assert report.to_value() == {
        "ok": True,
        "blobs": len([name for name, _ in forged.files if name.startswith("blobs/sha256/") and name[-1] != "/"]),
        "findings": [],
    }


def test_what_is_damaged_or_missing_is_named(damaged: Path) -> None:
    report = checked(damaged)
    assert not report.ok
    assert {(finding.rule, str(finding.where).rpartition("/")[2]) for finding in report.findings} == {
        ("blob", DAMAGED[7:]),
        ("blob", MISSING[7:]),
    }
    assert [str(finding.where) for finding in report.findings] == sorted(
        str(finding.where) for finding in report.findings
    )


def test_only_blobs_that_are_named_are_hashed(damaged: Path) -> None:
    assert checked(damaged, GOOD) == ResourcesReport(1, ())
    report = checked(damaged, GOOD, DAMAGED)
    assert (report.blobs, len(report.findings)) == (2, 1)


def test_what_is_no_digest_is_refused(damaged: Path) -> None:
    with pytest.raises(FormatError, match="not a digest"):
        checked(damaged, "sha256:0")


def test_a_table_with_a_digest_of_another_length_is_refused(tmp_path: Path) -> None:
    short = sql(("UPDATE rs_manifest SET digest = ? WHERE resource_id = 11", (b"\0" * 31,)))
    with pytest.raises(IntegrityError, match="resource table: a digest that does not have 32 bytes"):
        checked(forge.forge(resource_table=short).artifact(tmp_path / "image"))


def test_neighbours_in_an_artifact_in_a_store_are_fetched_together(tmp_path: Path) -> None:
    blobs = [b"%d" % number * 2000 for number in range(100, 140)]
    more = {f"blobs/sha256/{digest_text(blob)[7:]}": blob for blob in blobs}
    artifact = forge.forge(blob_files=lambda names: names | more).artifact(tmp_path / "image").read_bytes()
    store = MemoryStore()
    store.put("image", document("image", artifact))
    with Image(StoreArtifactBackend("memory:image", store, "image"), Compat()) as image:
        report = verify_resources(image)
        assert report.ok
        assert report.blobs > len(blobs)
        assert store.traffic.requests < 10
        assert verify_resources(image, [GOOD, digest_text(blobs[0])]) == ResourcesReport(2, ())
