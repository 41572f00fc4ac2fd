"""Two releases live and die in each kind of store, by the commands; what a kind cannot do is said in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otabuild.image.image import open_image
from otabuild.verification.verify import verify
from tests import pki
from tests.image.forge import policy
from tests.image.worlds import deploy_error
from tests.releases.worlds import image
from tests.stores.kinds import LISTED, READ_ONLY, WRITABLE, place_of

Run = Callable[..., Any]
MAIN = ("--ecu-id", "main")


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Where to publish, and the URL to read from."""
    return place_of(request.param, tmp_path.name, request, monkeypatch)


@pytest.fixture
def artifacts(tmp_path: Path) -> tuple[Path, Path]:
    return image(tmp_path / "first.zip"), image(tmp_path / "second.zip", "2.0", hostname="other")


@pytest.mark.parametrize("places", [*WRITABLE, READ_ONLY], indirect=True)
def test_what_is_published_is_read_by_url(
    places: tuple[str, str], artifacts: tuple[Path, Path], run: Run, tmp_path: Path
) -> None:
    store, url = places
    for artifact in artifacts:
        run("publish", str(artifact), store)
    first, second = (f"{url}/releases/{name}" for name in ("1.0", "2.0"))
    for words in (["diff", first, second], ["cost", first, second, *MAIN]):
        local = [
            str(artifacts[0]) if word == first else str(artifacts[1]) if word == second else word for word in words
        ]
        assert without_places(run(*words, "--json")) == without_places(run(*local, "--json"))
    for artifact, release in zip(artifacts, (first, second), strict=True):
        with open_image(release) as opened:
            assert verify(opened, policy(), pki.NOW).ok
        assert run("verify", release, "--no-signature", "--json")["ok"]
        run("pull", release, "-o", "pulled.zip")
        assert (tmp_path / "pulled.zip").read_bytes() == artifact.read_bytes()
        assert deploy_error(release, tmp_path / "by-url.tar") is None
        assert deploy_error(artifact, tmp_path / "local.tar") is None
        assert (tmp_path / "by-url.tar").read_bytes() == (tmp_path / "local.tar").read_bytes()


def without_places(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key not in ("traffic", "before", "after", "base", "new")}


@pytest.mark.parametrize("places", LISTED, indirect=True)
def test_a_store_is_listed_checked_and_pruned(places: tuple[str, str], artifacts: tuple[Path, Path], run: Run) -> None:
    store, _ = places
    assert run("publish", str(artifacts[0]), store, "--json")["uploaded"] > 0
    done = run("publish", str(artifacts[1]), store, "--json")
    assert 0 < done["uploaded"] < done["blobs"]
    assert run("publish", str(artifacts[1]), store, "--json")["was-there"]
    assert [one["state"] for one in run("store", "list", store, "--json")["releases"]] == ["published"] * 2
    own = run("store", "show", store, "1.0", "--json")["releases"][0]["own-blobs"]
    assert run("store", "verify", store, "--json")["ok"]
    planned = run("store", "prune", store, "--release", "1.0", "--grace", "0", "--dry-run", "--json")
    pruned = run("store", "prune", store, "--release", "1.0", "--grace", "0", "--json")
    assert pruned | {"dry-run": True} == planned
    assert (pruned["blobs"], pruned["kept"]) == (own, 1)
    checked = run("store", "verify", store, "--json")
    assert (checked["ok"], checked["releases"]) == (True, 1)
    assert "2.0  published" in run("store", "list", store)
    run("store", "withdraw", store, "2.0")
    assert "2.0  withdrawn" in run("store", "list", store)


@pytest.mark.parametrize("places", [WRITABLE[-1], READ_ONLY], indirect=True)
@pytest.mark.parametrize("words", ["list URL", "verify URL", "show URL 1.0", "withdraw URL 1.0", "prune URL --keep 1"])
def test_a_server_that_cannot_be_listed_is_told_in_one_line(words: str, places: tuple[str, str], run: Run) -> None:
    said = run("store", *words.replace("URL", places[1]).split(), code=1)
    assert "cannot list" in said.splitlines()[0]
    assert "listing needs PROPFIND" in said


@pytest.mark.parametrize("places", [READ_ONLY], indirect=True)
def test_a_server_that_only_reads_is_not_published_to(
    places: tuple[str, str], artifacts: tuple[Path, Path], run: Run
) -> None:
    said = run("publish", str(artifacts[0]), places[1], code=1)
    assert said.startswith(f"error: {places[1]}/")
    assert "publishing needs WebDAV" in said
