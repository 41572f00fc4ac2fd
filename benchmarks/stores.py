"""Benchmarks of releases in a store: a local SeaweedFS, against rclone with the same files."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import Bench, fresh
from benchmarks.figures import MB, Figure, peak, ratio
from benchmarks.measure import Side
from benchmarks.project import Project, answer
from otabuild.format.digest import Blob, blob_name
from otabuild.image.image import open_image
from otabuild.image.inventory import referenced_blobs
from otabuild.releases.layout import print_claim
from otabuild.stores.open_store import open_store
from tests.stores.servers import ACCESS_KEY, BUCKET, SECRET_KEY, aws_environ, seaweedfs

_STORE = f"s3://{BUCKET}/ota"
_PARALLEL = ("--transfers", "16", "--checkers", "16", "-q")


def publish(bench: Bench) -> Iterator[Figure]:
    """Publishing two releases and reading them by URL, against rclone and reading files."""
    with _server(bench) as environ:
        images = {"1": bench.built, "2": bench.built_second}
        folder = _directory(bench, bench.built)
        copy = _rclone(bench, environ, "copy", folder, f"bench:{BUCKET}/copy", *_PARALLEL)
        first, copied = (
            bench.meter.run(_publishing(images["1"], "1", environ)),
            bench.meter.run(copy),
        )
        before = _blobs()
        second = bench.meter.run(_publishing(images["2"], "2", environ))
        uploaded = {name: size for name, size in _blobs().items() if name not in before}
        yield ratio("publish, first / rclone copy: wall", first.wall, copied.wall, 1.3)
        yield peak("publish: peak memory", first, 200)
        yield ratio("publish, second / first: wall", second.wall, first.wall, 0.25)
        with open_image(images["2"].artifact) as image:
            new = [
                size
                for digest, size in referenced_blobs(image).items()
                if blob_name(digest) not in before
            ]
        stored = (sum(uploaded.values()) / MB, sum(new) / MB)
        yield ratio("publish, second: stored / its new blobs and tables", *stored, 1.02, unit="MB")
        yield from _reading(bench, environ, images)
        check = _rclone(
            bench, environ, "check", folder, f"bench:{BUCKET}/copy", "--download", *_PARALLEL
        )
        ours, theirs = bench.meter.compare(
            _by_url(images["1"], environ, "verify", _url("1"), "--ca", images["1"].ca), check
        )
        yield ratio("verify by URL / rclone check --download: wall", ours.wall, theirs.wall, 1.3)
        yield ratio("verify by URL / rclone check --download: CPU", ours.cpu, theirs.cpu)
        yield peak("verify by URL: peak memory", ours, 200)


def runner(bench: Bench) -> Iterator[Figure]:
    """A runner that starts empty, with the last release as base, against a cold build."""
    with _server(bench) as environ:
        first, second = bench.built, bench.built_second
        bench.meter.run(_publishing(first, "1", environ))
        source = {"directory": str(bench.second)}
        empty = Project(
            bench.work / "runner",
            source,
            output=None,
            storage={"profile": "update", "base": _url("1")},
            verify={"trust": [str(first.ca)]},
            publish={"store": _STORE, "name": "2"},
        )
        publishing = replace(
            empty.cold("empty runner"), command=[sys.executable, "-m", "doit", "publish"]
        )
        ours, cold = (
            bench.meter.run(publishing.but(environ=environ)),
            bench.meter.run(second.cold("cold build")),
        )
        yield ratio(
            "build and publish on an empty runner / cold build: wall", ours.wall, cold.wall, 0.25
        )
        yield ratio("build and publish on an empty runner / cold build: CPU", ours.cpu, cold.cpu)
        yield peak("empty runner: peak memory", ours)
        totals, whole = empty.report(), second.report()
        yield Figure("contents taken over from the base", totals["contents-of-base"])
        compressed = (totals["bytes-compressed"] / MB, whole["bytes-compressed"] / MB)
        yield ratio("bytes compressed, empty runner / cold build", *compressed, unit="MB")
        with open_image(first.artifact) as image:
            descriptors = [*image.index.manifests, *(one.manifest.config for one in image.payloads)]
            descriptors += [one.manifest.file_table for one in image.payloads]
            limit = (
                sum(one.size for one in descriptors)
                + len(image.index_raw)
                + len(image.token_raw or b"")
            )
        yield Figure("fetched of the base", totals["base-bytes"] / MB, "MB", limit / MB)


def many_releases(bench: Bench) -> Iterator[Figure]:
    """Looking at a folder with 100 releases of 10,000 blobs each, a tenth of them new."""
    folder = bench.work / "many-releases"
    fresh(folder)
    with open_image(bench.built.artifact) as image:
        _write_releases(folder, image.index_raw, 100, 10_000)
    for name, arguments, seconds in (("list", (), 3), ("prune", ("--keep", "50", "--dry-run"), 10)):
        usage = bench.meter.run(
            bench.built.command(f"store {name}", "store", name, folder, *arguments)
        )
        yield Figure(
            f"store {name}: wall", usage.wall, "s", seconds, source=f"CPU {usage.cpu:.1f} s"
        )
        yield peak(f"store {name}: peak memory", usage, 300)
    shutil.rmtree(folder)


def _write_releases(folder: Path, index_raw: bytes, releases: int, blobs: int) -> None:
    """Write releases as far as a listing looks: blobs are empty, and index.jwt is not one."""
    index = json.loads(index_raw)
    known: list[Blob] = []
    for number in range(releases):
        new = blobs if not known else blobs // 10
        known = known[new:] + [Blob(random.randbytes(32), 0) for _ in range(new)]
        index["annotations"]["number"] = str(number)
        raw = json.dumps(index).encode()
        files = {f"claims/{number}@{hashlib.sha256(raw).hexdigest()}": print_claim(known)}
        files |= {f"releases/{number}/index.json": raw, f"releases/{number}/index.jwt": b""}
        files |= {blob_name(blob.digest): b"" for blob in known[-new:]}
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


def _reading(bench: Bench, environ: dict[str, str], images: dict[str, Project]) -> Iterator[Figure]:
    project, (old, new) = images["1"], (images["1"].artifact, images["2"].artifact)
    for name, local, remote in (
        ("list-image", [old], [_url("1")]),
        ("diff", [old, new, "--ecu-id", "main"], [_url("1"), _url("2"), "--ecu-id", "main"]),
    ):
        here, there = bench.meter.compare(
            project.command(f"{name}, local", name, *local),
            _by_url(project, environ, name, *remote),
            times=3,
        )
        yield Figure(
            f"{name}: by URL minus local, wall",
            there.wall - here.wall,
            "s",
            0.5,
            source=f"{there.wall:.2f} s",
        )


@contextmanager
def _server(bench: Bench) -> Iterator[dict[str, str]]:
    """Run a store; yields the variables that lead to it, for otabuild and for rclone."""
    folder = bench.work / "seaweedfs"
    fresh(folder)
    with seaweedfs(folder) as address:
        aws = aws_environ(address)
        os.environ.update(aws)
        config = {"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": address, "REGION": "us-east-1"}
        keys = {"ACCESS_KEY_ID": ACCESS_KEY, "SECRET_ACCESS_KEY": SECRET_KEY}
        rclone = {
            f"RCLONE_CONFIG_BENCH_{name}": value for name, value in {**config, **keys}.items()
        }
        yield {**aws, **rclone}
    shutil.rmtree(folder)


def _blobs() -> dict[str, int]:
    """Return the size in bytes of each blob in the store, by its name."""
    with closing(open_store(_STORE)) as store:
        return {file.key: file.size for file in store.files("blobs/")}


def _url(release: str) -> str:
    return f"{_STORE}/releases/{release}"


def _publishing(project: Project, release: str, environ: dict[str, str]) -> Side:
    side = project.command(
        f"publish, release {release}", "publish", project.artifact, _STORE, "--name", release
    )
    return side.but(environ=environ)


def _by_url(project: Project, environ: dict[str, str], verb: str, *arguments: str | Path) -> Side:
    return project.command(f"{verb}, by URL", verb, *arguments).but(environ=environ)


def _rclone(bench: Bench, environ: dict[str, str], *arguments: str | Path) -> Side:
    program = Path(sys.executable).parent / "rclone"
    return Side(f"rclone {arguments[0]}", [program, *arguments], bench.work, environ=environ)


def _directory(bench: Bench, project: Project) -> Path:
    """Return the image of a project as a directory."""
    folder = bench.work / "image-directory"
    if not folder.exists():
        answer(project.command("pull", "pull", project.artifact, "-o", f"{folder}/", "--json"))
    return folder
