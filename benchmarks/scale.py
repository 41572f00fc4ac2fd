"""Benchmarks of trees with many files."""

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


def scale(bench: Bench) -> Iterator[Figure]:
    """The cost per file in a small and a large tree, and the memory for the large one."""
    small, large = starmap(bench.project, (_tree(bench, files) for files in bench.files))
    few, many = bench.meter.compare(
        small.cold(f"otabuild, cold, {bench.files[0]} files"), large.cold(f"otabuild, cold, {bench.files[1]} files")
    )
    name, (less, more) = f"{bench.files[1]:,} files", bench.files
    yield ratio(
        f"cost of a file, {name} / {less:,}: wall", many.wall / more * 1000, few.wall / less * 1000, 1.15, unit="ms"
    )
    yield ratio(f"cost of a file, {name} / {less:,}: CPU", many.cpu / more * 1000, few.cpu / less * 1000, unit="ms")
    yield ratio(f"{name}, cold build: CPU / wall", many.cpu, many.wall)
    yield peak(f"{name}, cold build: peak memory", many, 300)
    yield peak(f"{less:,} files, cold build: peak memory", few)
    yield from nothing_changed(bench, large, f"{name}, nothing changed", 3)
    yield from _reading(bench, large, name)


def _tree(bench: Bench, files: int) -> tuple[str, Path]:
    tree = bench.work / f"tree-{files}"
    # A separate process, because the memory of a parent counts for its child.
    writer: list[str | Path] = [sys.executable, "-m", "benchmarks.scale_tree", tree, str(files)]
    bench.meter.run(Side("write a tree", writer, _ROOT))
    bench.warm(tree)
    return f"scale-{files}", tree


def _reading(bench: Bench, project: Project, name: str) -> Iterator[Figure]:
    shallow, whole, deployed = bench.meter.compare(
        verifying(project, "--shallow"), verifying(project), deploying(bench, project)
    )
    yield peak(f"{name}, verify --shallow: peak memory", shallow, 250)
    yield peak(f"{name}, verify: peak memory", whole, 250)
    yield peak(f"{name}, deploy: peak memory", deployed, 250)
    for verb, usage in (("verify --shallow", shallow), ("verify", whole), ("deploy", deployed)):
        yield Figure(f"{name}, {verb}: wall", usage.wall, "s", source=f"CPU {usage.cpu:.1f} s")
    shutil.rmtree(bench.work / "deployed")
