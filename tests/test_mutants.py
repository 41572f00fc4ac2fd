"""The score of mutants: what was noticed, what was not, and what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

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
    ],
    ids=["all", "one survives", "one is equivalent", "not run", "timeout"],
)
def test_the_score(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    codes: tuple[int | None, ...],
    known: set[str],
    score: float,
) -> None:
    folder = tmp_path / "mutants/otabuild/assembly"
    folder.mkdir(parents=True)
    (folder / "m.py").write_text(SOURCE, encoding="utf-8")
    names = [f"otabuild.assembly.m.{name}" for name in mutants.changed_lines(SOURCE)]
    (folder / "m.py.meta").write_text(json.dumps({"exit_code_by_key": dict(zip(names, codes, strict=True))}))
    monkeypatch.setattr(mutants, "_ROOT", tmp_path)
    assert mutants.print_score("assembly", known) == pytest.approx(score)
