"""The pages of the documentation, and the blocks in them that are commands or files."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
PAGES = [
    path
    for path in sorted([ROOT / "README.md", ROOT / "examples/README.md", *(ROOT / "docs").rglob("*.md")])
    if "```console" in path.read_text(encoding="utf-8")
]
PART = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<mark>setup|helper|needs|exit|not run)(?:: )?(?P<value>.*?) ?-->"
    r'|```(?P<kind>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<body>.*?)^(?P=indent)```)$',
    re.MULTILINE | re.DOTALL,
)


class Command(NamedTuple):
    """A command and the lines it should print."""

    text: str
    prints: list[str]


class Block(NamedTuple):
    """A fenced block, and the marks in front of it."""

    kind: str
    title: str | None
    body: str
    marks: dict[str, str]

    @property
    def is_session(self) -> bool:
        """Whether it has commands: `console` with prompts and output, `sh` without."""
        return self.kind in {"console", "sh"}

    def commands(self) -> list[Command]:
        found: list[Command] = []
        for line in self.body.splitlines():
            if found and found[-1].text.endswith("\\"):
                found[-1] = Command(f"{found[-1].text}\n{line}", [])
            elif line.startswith("$ ") or self.kind == "sh":
                found.append(Command(line.removeprefix("$ "), []))
            elif found:
                found[-1].prints.append(line)
        return found


def blocks(page: Path) -> Iterator[Block]:
    marks: dict[str, str] = {}
    for part in PART.finditer(page.read_text(encoding="utf-8")):
        if part["mark"] in {"setup", "helper"}:
            yield Block(part["mark"], None, part["value"], marks)
            marks = {}
        elif part["mark"]:
            marks[part["mark"]] = part["value"]
        else:
            yield Block(part["kind"], part["title"], textwrap.dedent(part["body"]), marks)
            marks = {}
