"""Pieces of HTML. All text is escaped unless it is marked as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from otabuild.errors import printable


class Html(str):
    """Trusted HTML, made by this module."""

    __slots__ = ()


def text(value: object) -> Html:
    """Convert any text to HTML: markup is escaped, and invisible characters are spelled out."""
    return value if isinstance(value, Html) else Html(html.escape(printable(value), quote=True))


def tag(name: str, *content: object, **attributes: object) -> Html:
    """Return an element; a trailing underscore in an attribute's name is dropped."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items()
    )
    return Html(f"<{name}{given}>{''.join(map(text, content))}</{name}>")


def join(parts: Iterable[object]) -> Html:
    """Concatenate parts."""
    return Html("".join(map(text, parts)))


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[int] = ()
) -> Html:
    """Return a table, or the word none without rows; `numbers` are right-aligned columns."""
    body = [_row("td", row, numbers) for row in rows]
    if not body:
        return tag("p", "none", class_="none")
    return tag(
        "div",
        tag("table", tag("thead", _row("th", head, numbers)), tag("tbody", *body)),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=f"table: {', '.join(head)}",
    )


def _row(cell: str, values: Sequence[object], numbers: Sequence[int]) -> Html:
    return tag(
        "tr", *(_cell(cell, value, is_number=at in numbers) for at, value in enumerate(values))
    )


def _cell(cell: str, value: object, *, is_number: bool) -> Html:
    return tag(cell, value, class_="n") if is_number else tag(cell, value)


def fold(title: str, *content: object, is_open: bool = False) -> Html:
    """Return content that can be opened and closed."""
    # `open` is an attribute without a value, which `tag` does not have.
    folded = tag("details", tag("summary", title), *content)
    return Html(folded.replace("<details>", "<details open>", 1)) if is_open else folded
