"""A tree of many entries, the same at each call: mostly files, some directories and links."""

from __future__ import annotations

import math
import os
import random
import sys
from pathlib import Path

_SEPTILES = (1, 300, 703, 1277, 2145, 3473, 6511, 12586)
_LARGE, _LARGE_SHARE = 40_000, 0.05
"""Sizes in bytes: of the files of a Debian system with compilers the smaller 70 %, and a few from
there to `_LARGE`, so that millions of files fit a disk. Larger ones measure bytes, and these trees
measure files."""
_FOLDERS, _FILES, _SYMLINKS = 12, 260, 27
"""Of every 300 entries; one more is a hard link."""
_WORDS = 3_000_000


def write_scale_tree(folder: Path, entries: int) -> None:
    """Write a tree of about `entries` entries with distinct contents, unless it is there."""
    done = folder.with_name(f"{folder.name}.done")
    if done.exists():
        return
    choice = random.Random(1)
    text, noise = _text(choice), choice.randbytes(1 << 20)
    for group in range(entries // (_FOLDERS + _FILES + _SYMLINKS + 1)):
        package = folder / f"usr/lib/collection-{group // 100:03}/package-{group:05}"
        modules = [package, *(package / f"module-{number:02}" for number in range(_FOLDERS - 1))]
        for module in modules:
            module.mkdir(parents=True)
        first = group * _FILES
        for number in range(first, first + _FILES):
            path = modules[number % _FOLDERS] / f"component-{number}.dat"
            path.write_bytes(_content(choice, number, text, noise))
        for number in range(_SYMLINKS):
            (modules[number % _FOLDERS] / f"latest-{number}").symlink_to(
                f"component-{first + number}.dat"
            )
        os.link(modules[first % _FOLDERS] / f"component-{first}.dat", package / "again.dat")
    done.touch()


def _content(choice: random.Random, number: int, text: bytes, noise: bytes) -> bytes:
    """Return text with some noise, like the content of programs, distinct for each number."""
    part = choice.randrange(len(_SEPTILES) - 1)
    low, high = (
        _SEPTILES[part : part + 2] if choice.random() > _LARGE_SHARE else (_SEPTILES[-1], _LARGE)
    )
    size = int(math.exp(choice.uniform(math.log(low), math.log(high))))
    name = b"%d\n" % number
    start, random_start = choice.randrange(len(text) - size), choice.randrange(len(noise) - size)
    return (name + noise[random_start : random_start + size // 6] + text[start : start + size])[
        : max(size, len(name))
    ]


def _text(choice: random.Random) -> bytes:
    words = ["".join(choice.choices("etaoinshrdlu_", k=choice.randint(2, 9))) for _ in range(4000)]
    return " ".join(
        choice.choices(words, weights=[1 / rank for rank in range(1, 4001)], k=_WORDS)
    ).encode()


if __name__ == "__main__":
    write_scale_tree(Path(sys.argv[1]), int(sys.argv[2]))
