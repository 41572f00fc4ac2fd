"""Builds on machines that start empty: from a base in an object store, published into the same store or another one."""

from __future__ import annotations

import os
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import otabuild
from otabuild.errors import OtabuildError
from otabuild.image.image import open_image
from otabuild.pipeline.steps.publish_step import PublishStep
from otabuild.releases.check_store import check_store
from otabuild.releases.layout import BLOBS, digest_of_key
from otabuild.releases.listing import list_store
from otabuild.releases.store_survey import read_claim
from otabuild.signing.demo_pki import write_demo_pki
from otabuild.stores.open_store import open_store
from tests.image.products import NOW, Tree, noise
from tests.pipeline.base_world import HELD, NEW, OLD, Made, is_valid, make
from tests.stores.servers import BUCKET, aws_environ, needs_seaweedfs

RUNNERS = 40
SHARED: Tree = {f"lib/{n}": noise(n, 300_000) for n in range(10)}
"""What all runners have in their images."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runners")
    write_demo_pki(str(folder / "pki"), NOW)
    return folder


@pytest.fixture
def store(request: pytest.FixtureRequest, seaweedfs_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store of its own for each test, by its URL."""
    for name, value in aws_environ(seaweedfs_address).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{abs(hash(request.node.nodeid))}"


def runner(folder: Path, tree: Tree, root: Path, store: str, name: str, **keys: Any) -> Made:
    """Build a release on an empty runner; it is not published yet."""
    trust = {"trust": [str(root / "pki/root-ca.pem")]}
    keys = {"output": None, "verify": trust, "publish": {"store": store, "name": name}, **keys}
    return make(folder, tree, root / "pki", **keys)


def publish(made: Made) -> dict[str, Any]:
    return dict(PublishStep(made.recipe, made.workspace).execute().counts)


def documents(place: str) -> int:
    """Return the bytes of the tables and documents of an image."""
    with open_image(place) as image:
        found = {one.digest: one.size for one in image.index.manifests}
        for payload in image.payloads:
            found |= {one.digest: one.size for one in (payload.manifest.config, payload.manifest.file_table)}
        return sum(found.values()) + len(image.index_raw) + len(image.token_raw or b"")


@needs_seaweedfs
def test_an_empty_runner_neither_compresses_nor_fetches_what_the_base_has(
    root: Path, store: str, tmp_path: Path
) -> None:
    publish(runner(tmp_path / "old", OLD, root, store, "1.0"))
    base = f"{store}/releases/1.0"
    made = runner(tmp_path / "new", NEW, root, store, "2.0", base=base)
    assert made.totals["contents-of-base"] == len(HELD)
    assert made.totals["bytes-compressed"] <= len(NEW["lib/more"]) + len(NEW["etc/007"])
    done = publish(made)
    assert "base-bytes" not in done
    assert 0 < made.totals["base-bytes"] <= documents(base)
    assert is_valid(f"{store}/releases/2.0", root)
    assert done["uploaded-size"] < done["size"] / 100


@needs_seaweedfs
def test_what_is_needed_here_is_fetched_when_it_is(root: Path, store: str, tmp_path: Path) -> None:
    publish(runner(tmp_path / "old", OLD, root, store, "1.0"))
    base = f"{store}/releases/1.0"
    made = runner(tmp_path / "new", NEW, root, store, "2.0", base=base, output="image.zip")
    assert made.totals["base-bytes"] > sum(map(len, {v for k, v in OLD.items() if "noise" in k}))
    assert is_valid(made.path, root)
    without = runner(tmp_path / "without", NEW, root, store, "3.0", base=base)
    publish(without)
    with open_image(f"{store}/releases/3.0") as image:
        otabuild.pull(image, tmp_path / "pulled.zip", NOW, workers=2)
    assert (tmp_path / "pulled.zip").read_bytes() == made.path.read_bytes()


@needs_seaweedfs
def test_a_base_in_another_store_is_carried_over(root: Path, store: str, tmp_path: Path) -> None:
    publish(runner(tmp_path / "old", OLD, root, store, "1.0"))
    made = runner(tmp_path / "new", NEW, root, f"{store}-other", "2.0", base=f"{store}/releases/1.0")
    done = publish(made)
    assert done["uploaded"] == done["blobs"]
    assert done["base-bytes"] > sum(map(len, {v for k, v in OLD.items() if "noise" in k}))
    assert is_valid(f"{store}-other/releases/2.0", root)


@needs_seaweedfs
def test_a_base_that_is_pruned_meanwhile_is_named(root: Path, store: str, tmp_path: Path) -> None:
    publish(runner(tmp_path / "old", OLD, root, store, "1.0"))
    made = runner(tmp_path / "new", NEW, root, store, "2.0", base=f"{store}/releases/1.0")
    with closing(open_store(store)) as opened:
        for file in list(opened.files("")):
            opened.delete(file.key)
    with pytest.raises(OtabuildError, match=r"recipe\.yaml:\d+:\d+: storage\.base"):
        publish(made)
    with closing(open_store(store)) as opened:
        assert not [file for file in opened.files("releases/") if file.key.endswith("index.jwt")]


@needs_seaweedfs
@pytest.mark.parametrize("wrong", ["{}/releases/none", "{}", "s3://no-such-bucket-anywhere/releases/1.0"])
def test_a_base_by_url_that_is_none_is_found_before_any_work(
    wrong: str, root: Path, store: str, tmp_path: Path
) -> None:
    base = wrong.format(store)
    with pytest.raises(OtabuildError, match=r"recipe\.yaml:\d+:\d+: storage\.base") as caught:
        runner(tmp_path / "new", NEW, root, store, "2.0", base=base)
    assert base in str(caught.value)
    assert not (tmp_path / "new" / "work/recipes/recipe/scan.main.stamp").exists()


def run_one(number: int, folder: Path, root: Path, store: str, environ: dict[str, str]) -> None:
    """Build and publish on one of many runners, in a process of its own."""
    os.environ.update(environ)
    own: Tree = {f"etc/{number}-{n}": b"%d of %d " % (n, number) * 300 for n in range(5)}
    publish(runner(folder / str(number), SHARED | own, root, store, f"ecu-{number}"))


@needs_seaweedfs
def test_forty_runners_publish_at_once(root: Path, store: str, seaweedfs_address: str, tmp_path: Path) -> None:
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.pipeline.base_world", "otabuild.releases.publish_image", "obstore"])
    around = (tmp_path, root, store, aws_environ(seaweedfs_address))
    runners = [context.Process(target=run_one, args=(number, *around), daemon=True) for number in range(RUNNERS)]
    for process in runners:
        process.start()
    for process in runners:
        process.join(300)
    assert [process.exitcode for process in runners] == [0] * RUNNERS
    with closing(open_store(store)) as opened:
        releases = [one.release for one in list_store(opened).releases]
        assert [release.state for release in releases] == ["published"] * RUNNERS
        claims = [{digest for digest, _ in read_claim(opened, release.id)} for release in releases]
        stored = [digest_of_key(file.key) for file in opened.files(BLOBS)]
        assert check_store(opened, None).ok
    assert len(set.intersection(*claims)) >= len(SHARED)
    assert sorted(filter(None, stored)) == sorted(set.union(*claims))
    assert is_valid(f"{store}/releases/ecu-{RUNNERS - 1}", root)
