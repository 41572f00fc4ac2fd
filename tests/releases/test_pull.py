"""A release comes back as the artifact that was published, and a store is read back and put right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otabuild.image.image import open_image
from otabuild.verification.verify import verify
from tests import pki
from tests.image.forge import policy
from tests.releases.worlds import image
from tests.stores.kinds import SEAWEEDFS, WEBDAV, place_of

Run = Callable[..., Any]


@pytest.fixture(params=["folder", SEAWEEDFS, WEBDAV])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return place_of(request.param, tmp_path.name, request, monkeypatch)[0]


def test_a_release_comes_back_byte_for_byte(store: str, run: Run, tmp_path: Path) -> None:
    artifact = image(tmp_path / "image.zip")
    run("publish", "image.zip", store)
    pulled = run("pull", f"{store}/releases/1.0", "-o", "pulled.zip", "--json")
    assert (tmp_path / "pulled.zip").read_bytes() == artifact.read_bytes()
    assert pulled["sha256"] is not None
    run("pull", f"{store}/releases/1.0", "-o", "pulled/")
    run("pull", "pulled", "-o", "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == artifact.read_bytes()
    with open_image(tmp_path / "pulled") as opened:
        assert verify(opened, policy(), pki.NOW).ok


def test_a_damaged_release_is_not_written(run: Run, tmp_path: Path) -> None:
    image(tmp_path / "image.zip")
    run("publish", "image.zip", "store")
    harm(tmp_path / "store", "damaged")
    (tmp_path / "out.zip").write_bytes(b"what was there")
    assert "damaged" in run("pull", "store/releases/1.0", "-o", "out.zip", code=1)
    assert (tmp_path / "out.zip").read_bytes() == b"what was there"


def test_a_release_with_another_index_is_not_written(run: Run, tmp_path: Path) -> None:
    image(tmp_path / "image.zip")
    run("publish", "image.zip", "store")
    index = tmp_path / "store/releases/1.0/index.json"
    index.write_bytes(index.read_bytes().replace(b"forge", b"forgd"))
    assert "signature" in run("pull", "store/releases/1.0", "-o", "out.zip", code=1)
    assert not (tmp_path / "out.zip").exists()


def harm(store: Path, how: str) -> str:
    """Do something to the largest blob of a folder store; return its digest."""
    blob = max((store / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    content = blob.read_bytes()
    changed = {"damaged": b"x" + content[1:], "shorter": content[:-1], "longer": content + b"x"}
    blob.unlink()
    if how != "missing":
        blob.write_bytes(changed[how])
    return blob.name


@pytest.mark.parametrize("how", ["missing", "damaged", "shorter", "longer"])
def test_a_store_is_read_back_and_put_right(how: str, run: Run, tmp_path: Path) -> None:
    image(tmp_path / "image.zip")
    image(tmp_path / "other.zip", "2.0", hostname="other")
    for name in ("image.zip", "other.zip"):
        run("publish", name, "store")
    assert run("store", "verify", "store", "--json")["ok"]
    digest = harm(tmp_path / "store", how)
    found = run("store", "verify", "store", "--json", code=1)
    assert not found["ok"]
    assert [(one["blob"], one["releases"], one["repaired"]) for one in found["damaged"]] == [
        (digest, ["1.0", "2.0"], False)
    ]
    repaired = run("store", "verify", "store", "--repair-from", "other.zip", "--json")
    assert [one["repaired"] for one in repaired["damaged"]] == [True]
    assert run("store", "verify", "store", "--json")["damaged"] == []


def test_what_the_image_does_not_have_stays_damaged(run: Run, tmp_path: Path) -> None:
    image(tmp_path / "image.zip")
    run("publish", "image.zip", "store")
    other = image(tmp_path / "other.zip", "2.0")
    harm(tmp_path / "store", "missing")
    run("publish", str(other), "second")
    harm(tmp_path / "second", "missing")
    shown = run("store", "verify", "store", "--repair-from", "second/releases/2.0", code=1)
    assert "missing, not repaired; needed by 1.0" in shown
    assert "NOT WHOLE" in shown


def test_a_release_with_a_broken_claim_is_named(run: Run, tmp_path: Path) -> None:
    image(tmp_path / "image.zip")
    run("publish", "image.zip", "store")
    (claim,) = (tmp_path / "store/claims").iterdir()
    claim.write_text("not a claim\n")
    assert "1.0  broken: " in run("store", "verify", "store", code=1)
