"""Documents about a release: carried along by publish and pull, shown, replaced, and removed with the release."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import otabuild
from otabuild.api import publish
from otabuild.errors import FormatError, IntegrityError
from otabuild.image.image import open_image
from otabuild.releases.listing import show_release
from otabuild.releases.prune import Pruning, prune
from otabuild.stores.folder_store import FolderStore
from tests import pki
from tests.releases.worlds import image

SBOM, VEX = ".cdx.json", ".vex.json"


def sbom(path: Path) -> bytes:
    """Return a bill of materials of an image, as short as can be."""
    with open_image(path) as opened:
        digest = hashlib.sha256(opened.index_raw).hexdigest()
    return json.dumps({"metadata": {"component": {"hashes": [{"alg": "SHA-256", "content": digest}]}}}).encode()


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """An image with two documents beside it."""
    made = image(tmp_path / "image.zip")
    Path(f"{made}{SBOM}").write_bytes(sbom(made))
    Path(f"{made}{VEX}").write_bytes(b"{}")
    return made


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path / "store"), str(tmp_path / "store"))


def keys(store: FolderStore) -> list[str]:
    return sorted(file.key.rpartition("/")[2] for file in store.files("documents/"))


def test_they_go_into_the_store_and_come_back(built: Path, store: FolderStore, tmp_path: Path) -> None:
    done = publish(built, store.url, "1.0")
    assert done.documents == (SBOM, VEX)
    assert keys(store) == ["cdx.json", "vex.json"]
    (needs,) = show_release(store, "1.0")
    assert needs.documents == {"cdx.json": len(sbom(built)), "vex.json": 2}
    for target in ("pulled.zip", "pulled/"):
        with open_image(f"{store.url}/releases/1.0") as opened:
            pulled = otabuild.pull(opened, str(tmp_path / target), pki.NOW, workers=1)
        assert [Path(name).read_bytes() for name in pulled.documents] == [sbom(built), b"{}"]
    with open_image(f"{store.url}/releases/1.0") as opened:
        assert "documents" not in str([member.name for member in opened.source.members()])
    assert publish(f"{store.url}/releases/1.0", f"{store.url}-2", "1.0").documents == (SBOM, VEX)


def test_a_later_document_replaces_an_earlier_one(built: Path, store: FolderStore) -> None:
    publish(built, store.url, "1.0")
    Path(f"{built}{VEX}").write_bytes(b"[1]")
    Path(f"{built}{SBOM}").unlink()
    assert publish(built, store.url, "1.0").was_there
    assert keys(store) == ["cdx.json", "vex.json"]
    (file,) = (file for file in store.files("documents/") if file.key.endswith("vex.json"))
    assert b"".join(store.chunks(file.key)) == b"[1]"


def test_they_go_with_the_release(built: Path, store: FolderStore) -> None:
    publish(built, store.url, "1.0")
    prune(store, Pruning(names=("1.0",)), "p", "me", "now")
    assert keys(store) == ["cdx.json", "vex.json"]
    prune(store, Pruning(grace=0), "p", "me", "now")
    assert keys(store) == []


def test_a_document_about_another_image_is_refused(built: Path, store: FolderStore, tmp_path: Path) -> None:
    other = image(tmp_path / "other.zip", "2.0")
    Path(f"{built}{SBOM}").write_bytes(sbom(other))
    with pytest.raises(IntegrityError, match=r"image\.zip\.cdx\.json: a bill of materials of another image"):
        publish(built, store.url, "1.0")
    Path(f"{built}{SBOM}").write_bytes(b"[]")
    with pytest.raises(FormatError, match="not a bill of materials"):
        publish(built, store.url, "1.0")
    Path(f"{built}{SBOM}").unlink()
    Path(f"{built}.provenance.json").write_bytes(b"{}")
    with pytest.raises(FormatError, match=r"image\.zip\.provenance\.json"):
        publish(built, store.url, "1.0")
    assert not list(store.files(""))
