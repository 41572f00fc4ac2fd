"""Benchmarks of trees with many entries."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from itertools import starmap
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.building import nothing_changed
from benchmarks.figures import Figure, peak, ratio
from benchmarks.measure import Side
from benchmarks.project import Project
from benchmarks.reading import deploying, verifying

_ROOT = Path(__file__).resolve().parent.parent
_USUAL = 200_000
"""Up to this many entries, memory has the targets of an ordinary system."""


def scale(bench: Bench) -> Iterator[Figure]:
    """The cost per entry in a small and in larger trees, and the memory for the larger ones."""
    less, *others = bench.entries
    for more in others:
        small, large = starmap(bench.project, (_tree(bench, entries) for entries in (less, more)))
        few, many = bench.meter.compare(
            small.cold(f"otabuild, cold, {less} entries"),
            large.cold(f"otabuild, cold, {more} entries"),
        )
        name = f"{more:,} entries"
        costs = f"cost of an entry, {name} / {less:,}"
        yield ratio(
            f"{costs}: wall", many.wall / more * 1000, few.wall / less * 1000, 1.25, unit="ms"
        )
        yield ratio(f"{costs}: CPU", many.cpu / more * 1000, few.cpu / less * 1000, 1.25, unit="ms")
        yield ratio(f"{name}, cold build: CPU / wall", many.cpu, many.wall)
        yield peak(f"{name}, cold build: peak memory", many, _memory(more, 300, 1200))
        yield ratio(
            f"{name}, cold build: memory of an entry",
            many.peak - few.peak,
            more - less,
            unit="bytes",
        )
        yield from nothing_changed(bench, large, f"{name}, nothing changed", 3 * more / 200_000)
        yield from _reading(bench, large, name, _memory(more, 250, 600))


def _memory(entries: int, usual: int, most: int) -> int:
    """Return the target for peak memory in MB."""
    return usual if entries <= _USUAL else most


def _tree(bench: Bench, entries: int) -> tuple[str, Path]:
    tree = bench.work / f"tree-{entries}"
    # A separate process, because the memory of a parent counts for its child.
    writer: list[str | Path] = [sys.executable, "-m", "benchmarks.scale_tree", tree, str(entries)]
    bench.meter.run(Side("write a tree", writer, _ROOT))
    bench.warm(tree)
    return f"scale-{entries}", tree


def _reading(bench: Bench, project: Project, name: str, most: int) -> Iterator[Figure]:
    shallow, whole, deployed = bench.meter.compare(
        verifying(project, "--shallow"), verifying(project), deploying(bench, project)
    )
    yield peak(f"{name}, verify --shallow: peak memory", shallow, most)
    yield peak(f"{name}, verify: peak memory", whole, most)
    yield peak(f"{name}, deploy: peak memory", deployed, most)
    for verb, usage in (("verify --shallow", shallow), ("verify", whole), ("deploy", deployed)):
        yield Figure(f"{name}, {verb}: wall", usage.wall, "s", source=f"CPU {usage.cpu:.1f} s")
    shutil.rmtree(bench.work / "deployed")
