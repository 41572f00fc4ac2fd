"""Build and deploy on file systems of every size that is too small; needs permission to mount (root or `unshare -r`).

    full_disk.py PART       in the folder of a project; tries this part (0 to 1) of the sizes

Prints JSON: how many sizes were tried, how many of them failed, and what went wrong.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.robustness.sweeper import WORLDS, World, digest, fork

SMALL = Path("small")
PAGE = 4096
RECIPE = Path("recipes/vehicle.yaml")


def mount(size: int) -> None:
    """Mount an empty file system of this size in bytes, or resize the mounted one."""
    options = f"{'remount,' if SMALL.is_mount() else ''}size={size}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", SMALL], check=True)


def use_small(target: str) -> None:
    """Make the recipe write there."""
    text = RECIPE.read_text(encoding="utf-8").replace("../dist/", "../small/dist/")
    RECIPE.write_text(text, encoding="utf-8")
    Path("pyproject.toml").write_text(f'[tool.otabuild]\nwork = "{target}"\n', encoding="utf-8")


def quiet(act: Callable[[], None]) -> Callable[[], None]:
    """Redirect standard error to a file, for inspection."""

    def run() -> None:
        os.dup2(os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        act()

    return run


def try_size(world: World, outputs: tuple[Path, ...], size: int) -> tuple[int, str | None]:
    """Return the exit code, and what went wrong, if anything."""
    mount(size)
    shutil.copytree("old", SMALL / "dist")
    before = tuple(map(digest, outputs))
    code = fork(quiet(world.act))
    said = Path("said").read_text(encoding="utf-8")
    wrong = None
    if code not in {0, 1} or "Traceback" in said or ("error: " in said) != (code == 1):
        wrong = f"ended with {code}: {said[-3000:]}"
    elif code and any(found != old for old, found in zip(before, map(digest, outputs), strict=True)):
        wrong = f"changed what was there: {said}"
    elif left := [str(path) for path in SMALL.rglob("*otabuild-tmp*")]:
        wrong = f"left {left}"
    else:
        mount(1 << 30)
        if fork(quiet(world.act)):
            wrong = f"with more room: {Path('said').read_text(encoding='utf-8')}"
    return code, wrong


def sizes(part: float) -> Iterator[int]:
    """Yield sizes in pages, from too small for anything to large enough."""
    needed = 3 * sum(path.stat().st_size for path in Path("old").rglob("*") if path.is_file())
    for size in range(PAGE * 8 + needed // 3, needed * 5 // 4, PAGE):
        if random.Random(size).random() < part:
            yield size


def main() -> None:
    """See the module."""
    world = WORLDS["cold"]()
    shutil.rmtree("build")
    SMALL.mkdir()
    use_small("small/work")
    outputs = tuple(SMALL / path for path in world.outputs)
    mount(1 << 30)
    assert fork(world.act) == 0
    new = tuple(map(digest, outputs))
    codes, wrong = [], {}
    for size in sizes(float(sys.argv[1])):
        subprocess.run(["umount", SMALL], check=True)
        code, problem = try_size(world, outputs, size)
        if problem is None and tuple(map(digest, outputs)) != new:
            problem = "the next run gave something else"
        codes.append(code)
        if problem:
            wrong[size] = problem
    sys.stdout.write(json.dumps({"tried": len(codes), "failed": sum(code == 1 for code in codes), "wrong": wrong}))


if __name__ == "__main__":
    main()
