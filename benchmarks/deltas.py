"""Benchmarks of deploying the difference: by path, by URL, and over an emulated slow line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, fresh
from benchmarks.figures import MB, Figure, peak, ratio
from benchmarks.measure import Side
from benchmarks.project import answer
from benchmarks.reading import deploying
from tests.stores.fault_proxy import fault_proxy, slow_line
from tests.stores.servers import nginx

_LATENCY = 0.05
_RATE = 20_000_000 // 8
_CHAIN = 4
"""Requests that must wait for each other: index.json, manifest, file table, blob."""


def reuse(bench: Bench) -> Iterator[Figure]:
    """Deployment of the second release with the tree of the first one, from a path and by URL."""
    full = deploying(bench, bench.built_second)
    near = _reusing(bench, bench.built_second.artifact)
    with _served(bench) as address:
        whole, from_path, by_url, floor = bench.meter.compare(
            full, near, _reusing(bench, address), _copying(bench)
        )
        due, done = _due(bench), _done(bench, address)
    yield ratio("deploy --reuse, from a path / full: wall", from_path.wall, whole.wall, 0.35)
    yield ratio("deploy --reuse, from a path / full: CPU", from_path.cpu, whole.cpu)
    yield ratio("cp -a and sha256sum of the old tree / full: wall", floor.wall, whole.wall)
    yield ratio("cp -a and sha256sum of the old tree / full: CPU", floor.cpu, whole.cpu)
    yield ratio("deploy --reuse, by URL / full: wall", by_url.wall, whole.wall, 0.35)
    yield peak("deploy --reuse, by URL: peak memory", by_url, 250)
    yield Figure("requests: fetched minus cost", done["requests"] - due["total-requests"], target=0)
    yield Figure(
        "bytes: fetched minus cost",
        done["bytes"] - due["total"],
        target=0,
        source=f"{due['total']:,}",
    )
    shutil.rmtree(bench.work / "deployed")


def slow(bench: Bench) -> Iterator[Figure]:
    """Deployment over a line of 50 ms and 20 Mbit/s: the difference, and all of a release."""
    with _served(bench) as address, fault_proxy(address.removesuffix("/image-directory")) as line:
        line.fault = slow_line(_LATENCY, _RATE)
        url = f"{line.address}/image-directory"
        near, far = bench.meter.compare(_reusing(bench, address), _reusing(bench, url))
        due = _due(bench)
        (everything,) = bench.meter.compare(_deploying(bench, url))
    shortest = _shortest(due["total"])
    yield ratio("slow line, --reuse: wall / line", far.wall, shortest, 1.15)
    yield Figure(
        "slow line, --reuse: more wall than on this machine",
        far.wall - near.wall,
        "s",
        1.15 * shortest,
    )
    yield peak("slow line, --reuse: peak memory", far, 250)
    whole = due["full-download"] + due["metadata"] + due["documents"]
    yield ratio("slow line, whole: wall / line", everything.wall, _shortest(whole), 1.15)
    yield peak("slow line, whole: peak memory", everything, 250)
    yield Figure("slow line, whole: bytes", whole / MB, "MB")
    shutil.rmtree(bench.work / "deployed")


def _shortest(size: int) -> float:
    """Return the seconds that the line takes by itself."""
    return size / _RATE + _CHAIN * _LATENCY


def _deploying(bench: Bench, image: str | Path) -> Side:
    side = deploying(bench, bench.built_second)
    command = [image if word == bench.built_second.artifact else word for word in side.command]
    name = "deploy-image" + (", by URL" if isinstance(image, str) else "")
    return Side(name, command, side.folder, side.prepare, side.environ)


def _reusing(bench: Bench, image: str | Path) -> Side:
    """Deployment of the second release from a path or URL, with the tree of the first one."""
    old = bench.work / "old-tree"
    if not old.exists():
        bench.meter.run(deploying(bench, bench.built))
        (bench.work / "deployed").rename(old)
    side = _deploying(bench, image)
    command = [*side.command, "--reuse", old, "--reuse-image", bench.built.artifact]
    return Side(f"{side.name} --reuse", command, side.folder, side.prepare, side.environ)


def _copying(bench: Bench) -> Side:
    """What every such deployment does at least: copy the old tree, and hash each copy."""
    script = (
        'cp -a "$1" "$2" && find "$2" -type f -print0 | xargs -0 -P 2 -n 500 sha256sum > /dev/null'
    )
    target = bench.work / "deployed"
    command: list[str | Path] = ["sh", "-c", script, "copy", bench.work / "old-tree", target]
    return Side(
        "cp -a, sha256sum", command, bench.work, lambda: shutil.rmtree(target, ignore_errors=True)
    )


def _due(bench: Bench) -> dict[str, Any]:
    images = bench.built.artifact, bench.built_second.artifact
    return answer(bench.built.command("cost", "cost", *images, "--ecu-id", "main", "--json"))


def _done(bench: Bench, address: str) -> dict[str, int]:
    side = _reusing(bench, address)
    side.prepare()
    fetched: dict[str, int] = answer(Side(side.name, [*side.command, "--json"], side.folder))[
        "fetched"
    ]
    return fetched


@contextmanager
def _served(bench: Bench) -> Iterator[str]:
    """Serve the second release as an image directory; yields its URL."""
    root = bench.work / "served"
    folder = root / "image-directory"
    if not folder.exists():
        fresh(root)
        answer(
            bench.built_second.command(
                "pull", "pull", bench.built_second.artifact, "-o", f"{folder}/", "--json"
            )
        )
    fresh(bench.work / "nginx")
    with nginx(bench.work / "nginx", root) as address:
        yield f"{address}/{folder.name}"
