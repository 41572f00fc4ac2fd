"""Replaces `${…}` in the strings of a recipe, and determines the time of the build."""

from __future__ import annotations

import re
from collections.abc import Callable

from otabuild.errors import InputError
from otabuild.format.times import EPOCH, parse_epoch, parse_time
from otabuild.recipe.context import Context
from otabuild.recipe.fields import RefusedError
from otabuild.recipe.suggest import did_you_mean

_REFERENCE = re.compile(r"\$(?P<escaped>\$)?\{(?P<inside>[^}]*)(?P<end>\}?)")
_ENV = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<given>:-(?P<default>.*))?", re.DOTALL)
_GIT = ("describe", "commit", "branch")


def substitute(text: str, context: Context, date: str | None) -> str:
    """Replace references in a string: `${git:…}`, `${env:NAME}`, `${env:NAME:-default}`, `${date}`.

    `$${` stands for `${`. Replaced text is not searched again. `date` is the ISO date of the build,
    or None if it cannot be used.

    Raises:
        RefusedError: a reference is unknown or has no value.
        InputError: git failed.
    """

    def value(found: re.Match[str]) -> str:
        if found["escaped"]:
            return found[0][1:]
        if not found["end"]:
            raise RefusedError(
                f"the reference {found[0][:40]} has no closing brace",
                hint="write $${ for a plain ${",
            )
        return _value(found["inside"], context, date)

    return _REFERENCE.sub(value, text)


def _value(inside: str, context: Context, date: str | None) -> str:
    kind, _, rest = inside.partition(":")
    if "${" in rest:
        raise RefusedError(
            f"the reference ${{{inside}}} contains another one", hint="give a default without ${"
        )
    if inside == "date":
        if date is None:
            raise RefusedError(
                "${date} is the date of the timestamp, so the timestamp cannot use it"
            )
        return date
    if kind == "git" and rest in _GIT:
        return context.git(rest)
    if kind == "env" and (found := _ENV.fullmatch(rest)):
        text = context.env.get(found["name"])
        if text is None and not found["given"]:
            raise RefusedError(
                f"the environment variable {found['name']} is not set",
                hint=f"set it, or give a default: ${{env:{found['name']}:-default}}",
            )
        return text or found["default"] or ""
    known = [*(f"git:{what}" for what in _GIT), "env:NAME", "env:NAME:-default", "date"]
    raise RefusedError(
        f"${{{inside}}} is unknown",
        expected=", ".join(f"${{{name}}}" for name in known),
        hint=did_you_mean(inside, known) or "write $${ for a plain ${",
    )


def build_time(text: str, context: Context) -> int:
    """Return the Unix seconds of a recipe's `timestamp`; SOURCE_DATE_EPOCH has precedence.

    Raises:
        RefusedError: neither `commit`, `now` nor an ISO 8601 time, or SOURCE_DATE_EPOCH is not a
            number.
        InputError: git failed.
    """
    # What is written must be valid even where the variable decides; but then, git is not asked.
    choices: dict[str, Callable[[], int]] = {
        "commit": lambda: int(context.git("time")),
        "now": lambda: context.now,
    }
    time = choices.get(text) or _iso_time(text)
    epoch = context.env.get(EPOCH)
    if epoch is None:
        return time()
    try:
        return parse_epoch(epoch)
    except InputError as error:
        what = f"the environment variable {EPOCH} {error.what}: {epoch[:40]!r}"
        raise RefusedError(what, expected=error.expected, hint=error.hint) from None


def _iso_time(text: str) -> Callable[[], int]:
    try:
        time = parse_time(text)
    except InputError as error:
        expected, hint = f"commit, now, or {error.expected}", did_you_mean(text, ["commit", "now"])
        raise RefusedError(error.what, observed=text, expected=expected, hint=hint) from None
    return lambda: time
