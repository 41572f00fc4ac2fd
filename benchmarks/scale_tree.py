"""A tree of many files with the size distribution of a Debian system with compilers, the same at each call."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

_DECILES = (1, 300, 703, 1277, 2145, 3473, 6511, 12586, 23220, 54473, 250_000)
"""Sizes in bytes, without the largest 2 %: those measure bytes, and these trees measure files."""
_FILES_IN_FOLDER = 20
_WORDS = 3_000_000


def write_scale_tree(folder: Path, files: int) -> None:
    """Write a tree of `files` distinct files; a complete existing tree is kept."""
    done = folder.with_name(f"{folder.name}.done")
    if done.exists():
        return
    choice = random.Random(1)
    text, noise = _text(choice), choice.randbytes(1 << 20)
    for number in range(files):
        path = folder / f"usr/lib/{number // 2000:04}/{number // _FILES_IN_FOLDER % 100:02}/file-{number}"
        if number % _FILES_IN_FOLDER == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_content(choice, number, text, noise))
    done.touch()


def _content(choice: random.Random, number: int, text: bytes, noise: bytes) -> bytes:
    """Return text with some noise, like the content of programs; the number makes every content distinct."""
    decile = choice.randrange(10)
    size = int(math.exp(choice.uniform(math.log(_DECILES[decile]), math.log(_DECILES[decile + 1]))))
    name = b"%d\n" % number
    start, random_start = choice.randrange(len(text) - size), choice.randrange(len(noise) - size)
    return (name + noise[random_start : random_start + size // 6] + text[start : start + size])[: max(size, len(name))]


def _text(choice: random.Random) -> bytes:
    words = ["".join(choice.choices("etaoinshrdlu_", k=choice.randint(2, 9))) for _ in range(4000)]
    return " ".join(choice.choices(words, weights=[1 / rank for rank in range(1, 4001)], k=_WORDS)).encode()


if __name__ == "__main__":
    write_scale_tree(Path(sys.argv[1]), int(sys.argv[2]))
