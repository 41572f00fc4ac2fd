"""What the logs of GitHub Actions and GitLab CI understand: folds, and errors beside their line."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PLACE = re.compile(
    r"(?:^|\s)(?P<file>[^\s:]+):(?P<line>\d+):(?P<col>\d+): (?P<what>.*)$", re.MULTILINE
)


def begin_group(title: str) -> str:
    """Return the line that begins a part of the log; empty where no log can fold."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        return f"::group::{_escaped(title)}"
    if os.environ.get("GITLAB_CI") == "true":
        return f"\x1b[0Ksection_start:{int(time.time())}:{_slug(title)}\r\x1b[0K{title}"
    return ""


def end_group(title: str) -> str:
    """Return the line that ends the part of this title."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        return "::endgroup::"
    if os.environ.get("GITLAB_CI") == "true":
        return f"\x1b[0Ksection_end:{int(time.time())}:{_slug(title)}\r\x1b[0K"
    return ""


@contextmanager
def grouped(tell: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """Yield a function that tells that a step begins, and why; its part of the log follows."""
    title = ""

    def begin(text: str) -> None:
        nonlocal title
        end()
        title = text
        tell(begin_group(title) or title)

    def end() -> None:
        if title and (line := end_group(title)):
            tell(line)

    try:
        yield begin
    finally:
        end()


def annotated(text: str) -> str:
    """Return an error message, on GitHub with what shows it beside the lines that it names."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return text
    found = [
        "::error "
        f"file={_escaped(place['file'])},line={place['line']},col={place['col']},title=otabuild::{_escaped(place['what'])}"
        for place in _PLACE.finditer(text)
    ]
    return "\n".join(
        [text, *(found or [f"::error title=otabuild::{_escaped(text.removeprefix('error: '))}"])]
    )


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _slug(title: str) -> str:
    return re.sub("[^A-Za-z0-9_.-]", "-", title.partition(": ")[0])
