"""The score of mutants: what was noticed, what was not, and what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools import mutants

SOURCE = """\
def x_f__mutmut_orig(a):
    b = a + 1
    return b
def x_f__mutmut_1(a):
    b = a - 1
    return b
def x_f__mutmut_2(a):
    b = None
    return b
class C:
    def xǁCǁg__mutmut_orig(self):
        return 1
    def xǁCǁg__mutmut_1(self):
        return 2
"""


def test_a_mutant_is_named_by_the_lines_it_changes() -> None:
    assert mutants.changed_lines(SOURCE) == {
        "x_f__mutmut_1": "b = a - 1",
        "x_f__mutmut_2": "b = None",
        "xǁCǁg__mutmut_1": "return 2",
    }


@pytest.mark.parametrize(
    ("codes", "known", "score"),
    [
        ((1, 1, 1), set(), 100),
        ((1, 0, 1), set(), 100 * 2 / 3),
        ((1, 0, 1), {"otabuild.assembly.m: b = None"}, 100),
        ((1, 33, None), set(), 100 / 3),
        ((36, 1, 1), set(), 100),
        ((34, 0, 1), set(), 50),
    ],
    ids=["all", "one survives", "one is equivalent", "not run", "timeout", "not in the sample"],
)
def test_the_score(tmp_path: Path, codes: tuple[int | None, ...], known: set[str], score: float) -> None:
    meta = write_codes(tmp_path, codes)
    chosen = {name for name, code in json.loads(meta.read_text())["exit_code_by_key"].items() if code != 34}
    assert mutants.print_score(tmp_path, "assembly", chosen, known) == pytest.approx(score)


def write_codes(folder: Path, codes: tuple[int | None, ...]) -> Path:
    """Write the results of mutmut about the three mutants of SOURCE."""
    room = folder / "mutants/otabuild/assembly"
    room.mkdir(parents=True)
    (room / "m.py").write_text(SOURCE, encoding="utf-8")
    names = [f"otabuild.assembly.m.{name}" for name in mutants.changed_lines(SOURCE)]
    (room / "m.py.meta").write_text(json.dumps({"exit_code_by_key": dict(zip(names, codes, strict=True))}))
    return room / "m.py.meta"


def codes_of(meta: Path) -> list[int | None]:
    return list(json.loads(meta.read_text())["exit_code_by_key"].values())


def test_what_was_noticed_is_not_run_again(tmp_path: Path) -> None:
    meta = write_codes(tmp_path, (1, 0, 33))
    assert len(mutants.choose(tmp_path, "assembly", None, 1)) == 3
    assert codes_of(meta) == [1, None, None]


def test_only_a_sample_is_run_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    meta = write_codes(tmp_path, (None, 0, 34))
    samples = []
    for seed in (*range(9), 0):
        samples.append(mutants.choose(tmp_path, "assembly", 1, seed))
        assert sorted(codes_of(meta), key=str) == [34, 34, None]
    assert samples[0] == samples[-1]
    assert len(set().union(*samples)) > 1
    assert len(mutants.choose(tmp_path, "assembly", 5, 1)) == 3
    assert codes_of(meta) == [None, None, None]


def test_a_result_outlives_a_sample_without_it(tmp_path: Path) -> None:
    meta = write_codes(tmp_path, (1, 1, 1))
    mutants.choose(tmp_path, "assembly", 1, 1)
    assert codes_of(meta) == [1, 1, 1]


DECORATED = '''
"""A docstring with words."""

class C:
    """Another one."""

    @property
    def p(self):
        return "two words"

    @classmethod
    def c(cls):
        return cls.__name__

def more(n):
    return lambda function: lambda: [n, *function()]

@more(1)
@more(2)
def f(x="0"):
    """A third one."""
    return f"{x} and {x!r}", {"SELECT a b": "one"}["SELECT a b"]
'''


def test_a_copy_that_mutmut_can_change_does_the_same() -> None:
    copy = mutants.mutable(DECORATED)
    for source in (DECORATED, copy):
        names: dict[str, Any] = {}
        exec(source, names)
        assert names["__doc__"] == "A docstring with words."
        assert names["C"].__doc__ == "Another one."
        assert (names["C"]().p, names["C"].c()) == ("two words", "C")
        assert names["f"]() == [1, 2, "0 and '0'", "one"]
    assert "f'two words'" in copy
    assert "{'SELECT a b': 'one'}" in copy
    assert copy.count("@") == 1
    assert "p = property(p)" in copy
    assert copy.index("f = more(2)(f)") < copy.index("f = more(1)(f)")
