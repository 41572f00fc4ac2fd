"""Formats a difference as lines of text, or as Markdown for a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from otabuild.comparison.diff import Diff, PayloadDiff
from otabuild.comparison.diff_entries import Aspect, EntryChange, privileges
from otabuild.errors import printable
from otabuild.format import annotations as ann
from otabuild.format.sizes import counted, human_change, human_size
from otabuild.format.times import utc

_SIGNS = {"added": "+", "removed": "-", "changed": "~", "upgraded": "^", "downgraded": "v"}
_SHOWN = 400
"""Maximum number of lines of a list in Markdown; fewer if the whole does not fit."""
_FITS = 60_000
"""Maximum size of the Markdown in bytes: a comment in a pull request has at most 65,536
characters."""
_LONGEST = 160
_VALUE = 200
_TIMES = {ann.CREATED_AT, ann.SIGNED_AT}
"""Annotations in Unix seconds."""


def text_lines(found: Diff) -> Iterator[str]:
    """Yield the complete difference as lines of plain text, safe to print."""
    yield f"before: {printable(found.before)}"
    yield f"after:  {printable(found.after)}"
    yield f"blobs:  {human_change(*found.blobs_size)}"
    yield from _section("not compared", (f"  {printable(name)}" for name in found.not_compared))
    yield from _section("annotations", (f"  {aspect_text(aspect)}" for aspect in found.annotations))
    yield from _section(
        "signature (not checked)", (f"  {aspect_text(aspect)}" for aspect in found.signature)
    )
    told: dict[tuple[object, ...], str] = {}
    for payload in found.payloads:
        yield ""
        yield f"payload {printable(payload.name)}: {_headline(payload)}"
        yield from (f"  note: {printable(note)}" for note in payload.notes)
        twin = told.setdefault((payload.entries, payload.packages), payload.name)
        if twin == payload.name or not payload.entries:
            yield from _section("packages", (f"  {line}" for line in package_lines(payload)))
            yield from _section(
                "new licenses", (f"  + {printable(text)}" for text in payload.new_licenses)
            )
            yield from _section(
                "new files of no package",
                (f"  + {path}" for path in map(printable, payload.new_unpackaged)),
            )
        else:
            yield f"files and packages differ as those of {printable(twin)} do"
        yield from _section("system", (f"  {aspect_text(aspect)}" for aspect in payload.system))
        yield from _section("metadata", (f"  {aspect_text(aspect)}" for aspect in payload.metadata))
        yield from _section("sys_config", (f"  {printable(line)}" for line in payload.sys_config))
        if twin == payload.name:
            yield from _section("entries", (f"  {entry_text(entry)}" for entry in payload.entries))


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        if number == 0:
            yield f"{title}:"
        yield line


def _headline(payload: PayloadDiff) -> str:
    """Summarize the difference of a payload in one line."""
    if payload.kind != "changed":
        return payload.kind
    counts = [
        f"{number} {kind}"
        for kind in ("added", "removed", "changed")
        if (number := payload.count(kind))
    ]
    noun = "entry" if len(payload.entries) == 1 else "entries"
    entries = f"{', '.join(counts)} {noun}" if counts else "the same entries"
    packages = ""
    if number := len(payload.packages):
        packages = f"{counted(number, 'package')} {'differs' if number == 1 else 'differ'}, "
    elif payload.entries and payload.has_packages and not payload.notes:
        packages = "no packages changed, "
    downgraded = f"{len(payload.downgraded)} DOWNGRADED, " if payload.downgraded else ""
    return f"{entries}, {packages}{downgraded}rootfs {human_change(*payload.rootfs_size)}"


def aspect_text(aspect: Aspect, arrow: str = "->") -> str:
    """Return an aspect on one line, safe to print; long values are cut."""
    show = _date if aspect.name in _TIMES else _cut

    def shown(value: str | None) -> str:
        return "none" if value is None else show(printable(value))

    return f"{printable(aspect.name)}: {shown(aspect.before)} {arrow} {shown(aspect.after)}"


def _date(text: str) -> str:
    return utc(int(text)) if re.fullmatch("[0-9]{1,11}", text) else _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= _VALUE else f"{text[:_VALUE]}... ({len(text)} characters)"


def package_lines(payload: PayloadDiff) -> Iterator[str]:
    """Yield the packages that differ, one per line, safe to print."""
    for package in payload.packages:
        versions = " -> ".join(
            version for version in (package.before, package.after) if version is not None
        )
        loud = "  DOWNGRADED" if package.kind == "downgraded" else ""
        yield printable(f"{_SIGNS[package.kind]} {package.name} {versions}{loud}")


def entry_text(entry: EntryChange, arrow: str = "->") -> str:
    """Return a change on one line, safe to print."""
    line = f"{_SIGNS[entry.kind]} {printable(entry.path)}"
    if entry.kind == "changed":
        return f"{line} ({'; '.join(aspect_text(aspect, arrow) for aspect in entry.aspects)})"
    only = entry.after or entry.before
    assert only is not None
    if only.digest is None:
        return f"{line} {arrow} {printable(only.target)}" if only.target is not None else line
    return f"{line} ({', '.join([human_size(only.size), *privileges(only)])})"


def markdown_lines(found: Diff) -> list[str]:
    """Return the difference in Markdown.

    Lists are folded, and cut (with a count of omitted lines) until all fits.
    """
    shown = _SHOWN
    while True:
        lines = list(_markdown(found, shown))
        if sum(len(line.encode()) + 1 for line in lines) <= _FITS or shown == 0:
            return lines
        shown //= 2


def _markdown(found: Diff, shown: int) -> Iterator[str]:
    yield f"## {_code(found.before)} → {_code(found.after)}"
    yield ""
    yield "| payload | added | removed | changed | packages | rootfs |"
    yield "|---|--:|--:|--:|--:|---|"
    for payload in found.payloads:
        counts = " | ".join(str(payload.count(kind)) for kind in ("added", "removed", "changed"))
        name = _code(payload.name).replace("|", r"\|")
        state = "" if payload.kind == "changed" else f" ({payload.kind})"
        yield (
            f"| {name}{state} | {counts} | {len(payload.packages)} | "
            f"{human_change(*payload.rootfs_size)} |"
        )
    yield ""
    yield f"Blobs of the image: {human_change(*found.blobs_size)}"
    yield from _folded("Not compared", found.not_compared, shown)
    yield from _folded("Annotations of the image", map(aspect_text, found.annotations), shown)
    yield from _folded(
        "Signature (not checked)", map(aspect_text, found.signature), shown, is_open=True
    )
    told: dict[tuple[object, ...], str] = {}
    for payload in found.payloads:
        yield from _payload_markdown(payload, told, shown)


def _payload_markdown(
    payload: PayloadDiff, told: dict[tuple[object, ...], str], shown: int
) -> Iterator[str]:
    """Yield one payload; one with exactly the differences of another is not repeated."""
    if payload.kind != "changed":
        return
    yield ""
    yield f"### {_code(payload.name)}"
    yield from (f"\n> {_code(note)}" for note in payload.notes)
    twin = told.setdefault((payload.entries, payload.packages, payload.sys_config), payload.name)
    yield from _folded("Metadata", map(aspect_text, payload.metadata), shown)
    if twin != payload.name:
        yield ""
        yield f"Files, packages and sys_config differ as those of {_code(twin)} do."
        return
    yield from _folded("sys_config", payload.sys_config, shown, "diff")
    yield from _folded("System", map(aspect_text, payload.system), shown, is_open=True)
    yield from _folded("Packages", package_lines(payload), shown, is_open=True)
    yield from _folded("New licenses", payload.new_licenses, shown, is_open=True)
    yield from _folded("New files of no package", payload.new_unpackaged, shown)
    for kind in ("added", "removed", "changed"):
        entries = [entry_text(entry) for entry in payload.entries if entry.kind == kind]
        yield from _folded(f"Entries {kind}", entries, shown)


def _folded(
    title: str, lines: Iterable[str], shown: int, language: str = "text", *, is_open: bool = False
) -> Iterator[str]:
    """Yield lines in a fold with a code block, where no Markdown or HTML of an image has effect."""
    rows: Sequence[str] = [printable(line) for line in lines]
    if not rows:
        return
    fence = "`" * (1 + max((len(run) for row in rows for run in re.findall("`+", row)), default=2))
    yield ""
    yield f"<details{' open' if is_open else ''}><summary>{title} ({len(rows)})</summary>"
    yield ""
    yield f"{max(fence, '```')}{language}"
    for row in rows[:shown]:
        yield row if len(row) <= _LONGEST else f"{row[:_LONGEST]}..."
    if len(rows) > shown:
        yield f"... and {len(rows) - shown} more"
    yield max(fence, "```")
    yield ""
    yield "</details>"


def _code(text: str) -> str:
    """Return text as a code span, whatever its content."""
    safe = printable(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", safe)), default=0))
    pad = " " if safe[:1] == "`" or safe[-1:] == "`" else ""
    return f"{fence}{pad}{safe}{pad}{fence}"
