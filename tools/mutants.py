"""`make mutants`: break the core packages in every small way that mutmut knows, and print who noticed.

mutmut keeps its results in `mutants/`; a second run repeats only what changed. Mutants that no test can notice, because
the program does the same with them, are listed in `equivalent_mutants.txt` beside this file and do not count.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")
_SURVIVED, _UNTESTED = (0,), (5, 33)
"""Exit codes of the tests under a mutant: all green, and no test reached it. Any other means that it was noticed."""


def main() -> int:
    """Run mutmut on the packages that are named (default: all), print their scores; return 1 if one is too low."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="*", default=["assembly", "format"], help="such as `assembly`")
    parser.add_argument("--jobs", default="2", help="tests at the same time")
    parser.add_argument("--least", type=float, default=95, help="the lowest score in percent that is good enough")
    options = parser.parse_args()
    patterns = [f"otabuild.{package}.*" for package in options.packages]
    run = [sys.executable, "-m", "mutmut", "run", "--max-children", options.jobs, *patterns]
    subprocess.run(run, cwd=_ROOT, check=False)  # what it did not run counts below as not noticed
    known = set(filter(None, (line.partition("#")[0].strip() for line in _EQUIVALENT.read_text("utf-8").splitlines())))
    scores = [print_score(package, known) for package in options.packages]
    return int(min(scores) < options.least)


def print_score(package: str, known: set[str]) -> float:
    """Print the survivors of a package, and return the share of its mutants, equivalent ones apart, that were noticed."""
    counts: Counter[str] = Counter()
    for meta in sorted((_ROOT / "mutants/otabuild" / package).glob("**/*.py.meta")):
        lines = changed_lines(meta.with_suffix("").read_text("utf-8"))
        for name, code in json.loads(meta.read_text("utf-8"))["exit_code_by_key"].items():
            module, _, function = name.rpartition(".")
            what = f"{module}: {lines.get(function, function)}"
            if code not in (*_SURVIVED, *_UNTESTED, None):
                counts["noticed"] += 1
            elif what in known:
                counts["equivalent"] += 1
            else:
                counts["not run" if code is None else "survived"] += 1
                print(what if code is not None else f"{what} (not run)")
    score = 100 * counts["noticed"] / max(1, counts["noticed"] + counts["survived"] + counts["not run"])
    print(f"{package}: {score:.1f} % of {counts.total() - counts['equivalent']} mutants noticed; {dict(counts)}")
    return score


def changed_lines(source: str) -> dict[str, str]:
    """Return, for each mutant of a module as mutmut writes it, the lines in which it differs from the original."""
    functions = dict(_functions(ast.parse(source), source))
    found = {}
    for name, lines in functions.items():
        original = functions.get(name.rpartition("__mutmut_")[0] + "__mutmut_orig")
        if original and original is not lines:
            found[name] = " ".join(line.strip() for line in lines if line not in original) or "a line is missing"
    return found


def _functions(tree: ast.AST, source: str) -> Iterator[tuple[str, list[str]]]:
    lines = source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name:
            yield node.name, lines[node.lineno : node.end_lineno]


if __name__ == "__main__":
    sys.exit(main())
