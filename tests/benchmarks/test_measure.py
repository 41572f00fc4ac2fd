"""The calculations behind the figures of the benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.figures import Bound, Figure, ratio
from benchmarks.measure import Meter, Side, Usage
from benchmarks.scale_tree import write_scale_tree

_FILL = "data = bytearray(200_000_000)"


@pytest.mark.parametrize(
    ("value", "bound", "verdict"),
    [(1.25, "<=", "PASS"), (1.26, "<=", "MISS"), (1.25, ">=", "PASS"), (1.24, ">=", "MISS")],
)
def test_a_target_is_kept_or_missed(value: float, bound: Bound, verdict: str) -> None:
    assert Figure("x", value, target=1.25, bound=bound).verdict == verdict


def test_a_figure_without_a_target_has_no_verdict() -> None:
    assert ratio("x", 3, 2).verdict == ""


def test_sides_run_in_turn_and_are_prepared_each_time(tmp_path: Path) -> None:
    said = tmp_path / "said"

    def prepare() -> None:
        with said.open("a") as file:
            file.write("p\n")

    sides = [Side(name, ["sh", "-c", f"echo {name} >> said"], tmp_path, prepare) for name in ("a", "b")]
    Meter(tmp_path / "log", 2).compare(*sides)
    assert said.read_text().split() == ["p", "a", "p", "b"] * 2


def test_peak_and_cpu_are_those_of_the_largest_process_and_of_all(tmp_path: Path) -> None:
    used = Meter(tmp_path / "log", 1).run(
        Side("fill", ["sh", "-c", f"'{sys.executable}' -c '{_FILL}'; true"], tmp_path)
    )
    assert used.peak > 200_000_000
    assert 0 < used.cpu <= used.wall * 2


def test_a_command_that_fails_ends_the_benchmarks_with_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"broken: ended with 3; .*log says why"):
        Meter(tmp_path / "log", 1).run(Side("broken", ["sh", "-c", "exit 3"], tmp_path))


def test_a_median_keeps_the_largest_peak() -> None:
    assert Usage.median([Usage(1, 4, 7), Usage(2, 9, 9), Usage(6, 5, 8)]) == Usage(2, 5, 9)


def test_scale_trees_are_equal_and_their_contents_all_different(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_scale_tree(tmp_path / name, 300)
    one, two = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("component-*")}
        for root in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two
    assert len(set(one.values())) == len(one) == 260
    assert sum(path.name != "collection-000" for path in (tmp_path / "one/usr/lib").rglob("*")) == 300
