"""`make mutants`: break the core in every small way that mutmut knows, print what survived.

Each room is mutated in a copy of the project below `build/mutants/`, and tested by the tests beside
it; a second run repeats what changed and what survived. The copy differs from the source in two
ways that change nothing it does:

- `@decorator` above a function is written as a call below it, because mutmut leaves decorated
  functions alone, and these are the rules of verify among others.
- Sentences are written as f-strings, which mutmut leaves alone: how a message is worded is not a
  behaviour. That it is there, with its place and its facts, is: mutants that take one of them away
  count.

Mutants that no test can notice, because the program does the same with them, are listed in
`equivalent_mutants.txt` beside this file and do not count.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")
_ROOMS = ("assembly", "verification", "format", "signing", "rootfs")
_MORE_TESTS = {
    "signing": ("tests/pipeline/test_key_services.py",),
    "verification": ("tests/image", "tests/test_rules.py"),
}
"""Where else a room is tested: keys in running services sign whole images there; early images,
other payloads and packages are made, read and verified in one place."""
_SURVIVED, _UNTESTED, _LEFT_OUT, _LATE = (0,), (5, 33), 34, (-24, 24, 36, 152, 255)
"""Exit codes of the tests under a mutant: all green; no test reached it; not in the sample; did not
come to an end.

Any other means that it was noticed, and so does the last."""
_SLOW = (
    "memory",
    "bombs",
    "spoilt",
    "any_json",
    "brackets_in_strings",
    "holes_take_no_room",
    "F1-long-chain",
)
"""Tests that take seconds, by parts of their names. Every survivor would run them, and a room would
take days."""
_SENTENCE = re.compile(r"[a-z,:] [a-z]")
_SQL = re.compile(r"\s*(?:[A-Z]+ |\()")
_GENERATE = (
    "from mutmut.__main__ import copy_src_dir, create_mutants; copy_src_dir(); create_mutants(1)"
)


def main() -> int:
    """Run mutmut on the named rooms (default: all); return 1 if a score is too low."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rooms", nargs="*", default=_ROOMS, help="such as `assembly`")
    parser.add_argument("--jobs", default="2", help="tests at the same time")
    parser.add_argument(
        "--least", type=float, default=95, help="the lowest score in percent that is good enough"
    )
    parser.add_argument(
        "--sample", type=int, help="run only so many mutants of each room, drawn at random"
    )
    parser.add_argument("--seed", type=int, default=1, help="what they are drawn with")
    options = parser.parse_args()
    known = {
        line
        for line in _EQUIVALENT.read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    }
    scores = []
    for room in options.rooms:
        begin = time.monotonic()
        folder = prepare(room)
        _mutmut(folder, "-c", _GENERATE)
        chosen = choose(folder, room, options.sample, options.seed)
        _mutmut(folder, "-m", "mutmut", "run", "--max-children", options.jobs)
        scores.append(print_score(folder, room, chosen, known))
        print(f"{room}: {(time.monotonic() - begin) / 60:.0f} minutes")
    return int(min(scores) < options.least)


def prepare(room: str) -> Path:
    """Bring the copy of the project that a room is mutated in up to date, and return it."""
    folder = _ROOT / "build/mutants" / room
    # Mutmut does not take away what is gone.
    shutil.rmtree(folder / "mutants/tests", ignore_errors=True)
    for path in _ROOT.glob("otabuild/**/*"):
        if path.is_file() and "__pycache__" not in path.parts:
            data = path.read_bytes()
            if path.parent == _ROOT / "otabuild" / room:
                data = mutable(data.decode()).encode()
            _write(folder / path.relative_to(_ROOT), data)
    for name in ("tests", "docs", "recipes", "tools", "CHANGELOG.md"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(_ROOT / name)
    settings = {
        "source_paths": ["otabuild/"],
        "only_mutate": [f"otabuild/{room}/*"],
        # Its tests need a process of their own, because a driver of tokens can be loaded only once.
        "do_not_mutate": ["otabuild/signing/hsm.py"],
        "also_copy": ["docs/", "recipes/", "tools/", "CHANGELOG.md"],
        "pytest_add_cli_args": [
            "-p",
            "no:cacheprovider",
            "-q",
            "-k",
            f"not ({' or '.join(_SLOW)})",
        ],
        "pytest_add_cli_args_test_selection": [f"tests/{room}", *_MORE_TESTS.get(room, ())],
        "timeout_constant": 10,
    }
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    _write(
        folder / "pyproject.toml",
        ((_ROOT / "pyproject.toml").read_text() + "\n[tool.mutmut]\n" + lines).encode(),
    )
    return folder


def _write(path: Path, data: bytes) -> None:
    """Write a file unless it is the same already: mutmut goes by the time of a file."""
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _mutmut(folder: Path, *arguments: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:  # tests that are killed leave theirs behind
        command = ["env", f"TMPDIR={scratch}", sys.executable, *arguments]
        # What it did not run counts below as not noticed.
        subprocess.run(command, cwd=folder, check=False)


def mutable(source: str) -> str:
    """Return an equal module in which mutmut mutates decorated functions, and no sentences."""
    return ast.unparse(_Mutable().visit(ast.parse(source)))


class _Mutable(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> list[ast.stmt]:
        self.generic_visit(node)
        found: list[ast.stmt] = [node]
        if {name.id for name in node.decorator_list if isinstance(name, ast.Name)} & {
            "staticmethod",
            "classmethod",
        }:
            return found
        function = ast.Name(node.name)
        calls = (ast.Call(decorator, [function], []) for decorator in reversed(node.decorator_list))
        found.extend(ast.Assign([function], call, lineno=0) for call in calls)
        node.decorator_list = []
        return found

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.JoinedStr:
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        """Leave docstrings what they are."""
        return node if isinstance(node.value, ast.Constant) else ast.Expr(self.visit(node.value))

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        is_sentence = (
            isinstance(node.value, str)
            and _SENTENCE.search(node.value)
            and not _SQL.match(node.value)
        )
        return ast.JoinedStr([node]) if is_sentence else node


def choose(folder: Path, room: str, sample: int | None, seed: int) -> set[str]:
    """Return the mutants of the sample, or all; have mutmut run those not noticed yet."""
    metas = {path: json.loads(path.read_text("utf-8")) for path in _metas(folder, room)}
    names = [name for meta in metas.values() for name in meta["exit_code_by_key"]]
    chosen = set(
        names if sample is None else random.Random(seed).sample(names, min(sample, len(names)))
    )
    for path, meta in metas.items():
        codes = meta["exit_code_by_key"]
        for name, code in codes.items():
            if code in (*_SURVIVED, *_UNTESTED, _LEFT_OUT, None):
                codes[name] = None if name in chosen else _LEFT_OUT
        path.write_text(json.dumps(meta), encoding="utf-8")
    return chosen


def _metas(folder: Path, room: str) -> list[Path]:
    return sorted((folder / "mutants/otabuild" / room).glob("**/*.py.meta"))


def print_score(folder: Path, room: str, chosen: set[str], known: set[str]) -> float:
    """Print a room's survivors; return the share of non-equivalent mutants that were noticed."""
    counts: Counter[str] = Counter()
    for meta in _metas(folder, room):
        lines = changed_lines(meta.with_suffix("").read_text("utf-8"))
        for name, code in json.loads(meta.read_text("utf-8"))["exit_code_by_key"].items():
            module, _, function = name.rpartition(".")
            what = f"{module}: {lines.get(function, function)}"
            if name not in chosen:
                counts["not in the sample"] += 1
            elif code in _LATE:
                counts["timeout"] += 1
            elif code not in (*_SURVIVED, *_UNTESTED, None):
                counts["noticed"] += 1
            elif what in known:
                counts["equivalent"] += 1
            else:
                kind = (
                    "not run"
                    if code is None
                    else "survived"
                    if code in _SURVIVED
                    else "without a test"
                )
                counts[kind] += 1
                print(what if kind == "survived" else f"{what} ({kind})")
    noticed = counts["noticed"] + counts["timeout"]
    total = counts.total() - counts["equivalent"] - counts["not in the sample"]
    score = 100 * noticed / max(1, total)
    print(f"{room}: {score:.1f} % of {total} mutants noticed; {dict(counts)}")
    return score


def changed_lines(source: str) -> dict[str, str]:
    """Return, for each mutant of a module, the lines in which it differs from the original."""
    functions = dict(_functions(ast.parse(source), source))
    found = {}
    for name, lines in functions.items():
        original = functions.get(name.rpartition("__mutmut_")[0] + "__mutmut_orig")
        if original and original is not lines:
            found[name] = (
                " ".join(line.strip() for line in lines if line not in original)
                or "a line is missing"
            )
    return found


def _functions(tree: ast.AST, source: str) -> Iterator[tuple[str, list[str]]]:
    lines = source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name:
            first, *rest = lines[node.lineno - 1 : node.end_lineno]
            yield node.name, [first.replace(node.name, node.name.partition("__mutmut_")[0]), *rest]


if __name__ == "__main__":
    sys.exit(main())
