"""Prints the table "to add …, touch these files" of CONTRIBUTING.md.

It is found in the code by one example of each kind: a name that its kind cannot do without. The
files that name it are those that a second one would touch.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Kind(NamedTuple):
    """Something that is added now and then, its example, and how many files it may cost."""

    what: str
    example: str
    pattern: str
    most: int


KINDS = (
    Kind("a recipe key that becomes an annotation", "`release-branch`", r"release[-_.]branch", 4),
    Kind("a rule of verify", "`table.case`", r'"table\.case"', 1),
    Kind("a command", "`lookup-image`", r"lookup-image|run_lookup", 2),
    Kind("a source of a rootfs", "`docker-archive`", r"docker[-_]archive|DockerArchive", 4),
    Kind("a place to read images from", "a directory", r"DirectoryBackend", 2),
    Kind("a kind of store", "Azure", r'"az"', 2),
    Kind("a kind of signing key", "`env`", r"EnvKey", 2),
)


def files(kind: Kind) -> list[str]:
    """Return the product files that name the example of a kind."""
    found = [
        path
        for path in sorted((ROOT / "otabuild").rglob("*.py"))
        if re.search(kind.pattern, path.read_text(encoding="utf-8"))
    ]
    return [path.relative_to(ROOT / "otabuild").as_posix() for path in found]


def table() -> str:
    """Return the table in Markdown."""
    rows = [
        f"| {kind.what} | {kind.example} | {', '.join(f'`{name}`' for name in files(kind))} |"
        for kind in KINDS
    ]
    return "\n".join(
        ["| to add | as an example | touch, below otabuild/ |", "|---|---|---|", *rows]
    )


if __name__ == "__main__":
    print(table())
