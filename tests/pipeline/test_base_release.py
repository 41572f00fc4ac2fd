"""A signed release as base: what a trusted signer vouches for is not compressed again, and nothing else is believed."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import otabuild
from otabuild.errors import OtabuildError
from otabuild.format.digest import Blob
from otabuild.image.image import open_image
from otabuild.pipeline.base_release import summarize_base
from otabuild.pipeline.builder import BUILDER
from otabuild.pipeline.run import run_steps
from otabuild.pipeline.steps.graph import build_steps
from otabuild.pipeline.steps.publish_step import PublishStep
from otabuild.recipe.load import load_recipe
from otabuild.signing.demo_pki import write_demo_pki
from otabuild.storage.member import document
from otabuild.stores.open_store import open_store
from tests.image.products import NOW, Tree, workspace, write_recipe
from tests.pipeline.base_world import HELD, NEW, OLD, Made, is_valid, make


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    for name in ("pki", "stranger"):
        write_demo_pki(str(folder / name), NOW)
    return folder


@pytest.fixture(scope="module")
def trusting(root: Path) -> dict[str, Any]:
    return {"verify": {"trust": [str(root / "pki/root-ca.pem")]}}


@pytest.fixture(scope="module")
def old(root: Path, trusting: dict[str, Any]) -> Made:
    return make(root / "old", OLD, root / "pki", **trusting)


@pytest.fixture(scope="module")
def without(root: Path, trusting: dict[str, Any]) -> Made:
    """The new image, built without a base."""
    return make(root / "without", NEW, root / "pki", **trusting)


def test_nothing_that_a_trusted_base_has_is_compressed_again(
    root: Path, old: Made, without: Made, trusting: dict[str, Any], tmp_path: Path
) -> None:
    made = make(tmp_path / "new", NEW, root / "pki", str(old.path), **trusting)
    new = b"other words " * 30_000
    assert made.totals["contents-of-base"] == len(HELD)
    assert made.totals["bytes-compressed"] <= len(new) + len(NEW["etc/007"])
    assert without.totals["bytes-compressed"] > 10 * made.totals["bytes-compressed"]
    assert is_valid(made.path, root)
    with workspace(tmp_path / "new").open_cache() as cache, open_image(old.path) as image:
        stored = image.blobs.stored() or {}
        assert not [digest for digest, size in stored.items() if cache.has(Blob(digest, size))]


def test_the_same_base_gives_the_same_bytes(root: Path, old: Made, trusting: dict[str, Any], tmp_path: Path) -> None:
    one = make(tmp_path / "one", NEW, root / "pki", str(old.path), **trusting)
    make(tmp_path / "two", NEW, root / "pki", **trusting)  # fills the cache with frames of its own
    (tmp_path / "two/rootfs").rename(tmp_path / "before")
    two = make(tmp_path / "two", NEW, root / "pki", str(old.path), **trusting)
    assert one.digest == two.digest


@pytest.mark.parametrize("form", ["release", "artifact"])
def test_a_base_by_url(form: str, root: Path, old: Made, trusting: dict[str, Any], tmp_path: Path) -> None:
    url = as_release(old.path, tmp_path / "store")
    if form == "artifact":
        open_store(str(tmp_path / "store")).put("old.zip", document("old.zip", old.path.read_bytes()))
        url = f"file://{tmp_path}/store/old.zip"
    made = make(tmp_path / "new", NEW, root / "pki", url, **trusting)
    assert made.digest == make(tmp_path / "again", NEW, root / "pki", str(old.path), **trusting).digest
    assert made.totals["contents-of-base"] == len(HELD)


def test_a_base_of_a_stranger_is_not_used(root: Path, without: Made, trusting: dict[str, Any], tmp_path: Path) -> None:
    strange = make(tmp_path / "strange", OLD, root / "stranger")
    made = make(tmp_path / "new", NEW, root / "pki", str(strange.path), **trusting)
    assert made.digest == without.digest
    assert made.totals["contents-of-base"] == 0
    assert len(made.warnings) == 1
    assert "is not used" in made.warnings[0]


@pytest.mark.parametrize("how", ["unsigned", "nobody is trusted"])
def test_a_base_that_nobody_vouches_for_is_used_by_its_bytes(
    how: str, root: Path, old: Made, trusting: dict[str, Any], tmp_path: Path
) -> None:
    base = make(tmp_path / "base", OLD, None) if how == "unsigned" else old
    keys = trusting if how == "unsigned" else {}
    made = make(tmp_path / "new", NEW, root / "pki", str(base.path), **keys)
    assert 0 < made.totals["contents-of-base"] <= 50  # members of bundles
    assert is_valid(made.path, root)


@pytest.mark.parametrize("signer", ["pki", "stranger", None])
def test_a_plan_tells_what_the_base_may_give(
    signer: str | None, root: Path, trusting: dict[str, Any], tmp_path: Path
) -> None:
    base = make(tmp_path / "base", OLD, None if signer is None else root / signer)
    told: list[str] = []
    recipe = load_recipe(write_recipe(tmp_path / "new", NEW, storage={"base": str(base.path)}, **trusting))
    found = summarize_base(recipe, NOW, told.append)
    assert found is not None
    assert found.is_trusted == (signer == "pki")
    assert found.resources == {"pki": 61, "stranger": 0, None: 50}[signer]
    assert str(base.path) in found.describe()
    assert len(told) == (signer == "stranger")


def test_a_base_that_lost_a_blob_is_named(root: Path, old: Made, trusting: dict[str, Any], tmp_path: Path) -> None:
    base = unpacked(old.path, tmp_path / "base")
    largest = max((base / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(b"x" + largest.read_bytes()[1:])
    with pytest.raises(OtabuildError, match=r"storage\.base") as caught:
        make(tmp_path / "new", NEW, root / "pki", str(base), **trusting)
    assert "does not have a blob" in str(caught.value)
    assert not (tmp_path / "new/image.zip").exists()


@pytest.mark.parametrize("form", ["artifact", "directory", "release"])
def test_provenance_names_the_base_of_the_last_build(
    form: str, root: Path, old: Made, trusting: dict[str, Any], tmp_path: Path
) -> None:
    """Also if another base at the same place gives the same image."""
    other = make(tmp_path / "other", OLD, root / "pki", timestamp="2026-02-02T00:00:00Z", **trusting)

    def put(base: Made) -> str:
        if form == "artifact":
            return str(shutil.copy(base.path, tmp_path / "base.zip"))
        shutil.rmtree(tmp_path / "base", ignore_errors=True)
        return (as_release if form == "release" else lambda *of: str(unpacked(*of)))(base.path, tmp_path / "base")

    made = make(tmp_path / "new", NEW, root / "pki", put(old), **trusting)
    recipe = made.recipe.model_copy(update={"provenance": True})
    around = replace(made.workspace, environ={BUILDER: "https://ci.example/1"})
    for base in (old, other):
        put(base)
        run_steps(build_steps(recipe, around), time.monotonic, lambda _text: None)
        envelope = json.loads(Path(f"{made.path}.provenance.json").read_bytes())
        definition = json.loads(base64.b64decode(envelope["payload"]))["predicate"]["buildDefinition"]
        (named,) = (one for one in definition["resolvedDependencies"] if one["name"] == "storage.base")
        with open_image(base.path) as image:
            index = hashlib.sha256(image.index_raw).hexdigest()
        assert named["digest"]["sha256"] == (base.digest if form == "artifact" else index)


def as_release(artifact: Path, folder: Path) -> str:
    """Write an image into a store as the release 1.0; return its URL."""
    store = open_store(str(folder))
    with open_image(artifact) as image:
        for member in image.source.members():
            if not member.name.endswith("/"):
                key = member.name if member.name.startswith("blobs/") else f"releases/1.0/{member.name}"
                store.put(key, document(key, b"".join(image.source.chunks(member.name))))
    return f"file://{folder}/releases/1.0"


def unpacked(artifact: Path, folder: Path) -> Path:
    with open_image(artifact) as image:
        for member in image.source.members():
            if not member.name.endswith("/"):
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"".join(image.source.chunks(member.name)))
    return folder


def harmed(base: Path, times: int) -> Iterator[Callable[[], None]]:
    """Yield changes of every document and table of a base, in many places."""
    random_ = random.Random(15)
    with open_image(base) as image:
        tables = [image.index.resource_table, *(payload.manifest.file_table for payload in image.payloads)]
        documents = [*image.index.manifests, *(payload.manifest.config for payload in image.payloads)]
        names = {f"blobs/sha256/{one.digest.hex()}" for one in (*tables, *documents)}
    for name in sorted({"index.json", "index.jwt", *names}):
        path = base / name
        content = path.read_bytes()
        for _ in range(times):
            at, bit = random_.randrange(len(content)), 1 << random_.randrange(8)
            changed = content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
            yield lambda path=path, changed=changed: path.write_bytes(changed)  # type: ignore[misc]
            path.write_bytes(content)


@pytest.mark.parametrize("times", [3, pytest.param(40, marks=pytest.mark.sweep)])
@pytest.mark.parametrize("form", ["artifact", "release"])
def test_a_base_that_was_tampered_with_is_an_error_or_changes_nothing(
    form: str, times: int, root: Path, trusting: dict[str, Any], tmp_path: Path
) -> None:
    """Also if the image is published from the work directory, and most of its blobs are never read before."""
    tree: Tree = {**{f"etc/{n}": b"%d " % n * 200 for n in range(9)}, "text": b"words and words " * 9000}
    changed = tree | {"etc/3": b"new " * 99}
    old = make(tmp_path / "old", tree, root / "pki", **trusting)

    def build(name: str, base: Path | None) -> bytes:
        """Return all of an image, as an artifact."""
        folder, store = tmp_path / name, tmp_path / f"{name}-store"
        keys = {"output": None, "publish": {"store": str(store), "name": "1"}} if form == "release" else {}
        made = make(folder, changed, root / "pki", None if base is None else str(base), **trusting, **keys)
        if form == "release":
            PublishStep(made.recipe, made.workspace).execute()
            with open_image(store / "releases/1") as image:
                otabuild.pull(image, made.path, NOW, workers=1)
        return made.path.read_bytes()

    right = {build("with", old.path), build("without", None)}
    base, errors, count = unpacked(old.path, tmp_path / "base"), 0, 0
    for count, harm in enumerate(harmed(base, times), 1):
        harm()
        try:
            made = build(f"new{count}", base)
        except OtabuildError:
            errors += 1
        else:
            assert made in right
    assert count >= 5 * times
    assert errors > 0
