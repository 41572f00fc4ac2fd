"""Every error that otabuild raises on purpose: one root class, and one sentence for each subclass.

Core code raises these errors, and only the shell displays them. An error says what is wrong, where,
what was observed, what was expected, and what to do about it. So does a `Finding`, which is
collected instead of raised.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, TypeVar

E = TypeVar("E", bound="OtabuildError")
Severity = Literal["error", "warning", "note"]


class OtabuildError(Exception):
    """An error that a user can cause or fix; any other exception is a bug.

    Args:
        what: what is wrong, one sentence without a full stop.
        where: the file, key path, table row or object in question.
        observed: what was found.
        expected: what should have been found.
        hint: what to do next.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = "",
        observed: object = None,
        expected: object = None,
        hint: str = "",
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = str(where)
        self.observed = None if observed is None else str(observed)
        self.expected = None if expected is None else str(expected)
        self.hint = hint

    def at(self, place: object) -> Self:
        """Return this error, with its place inside something larger: file, folder or recipe key."""
        self.where = ": ".join(filter(None, (str(place), self.where)))
        return self

    def to_value(self) -> dict[str, object]:
        """Return the error as plain JSON values."""
        return {
            name: getattr(self, name) for name in ("what", "where", "observed", "expected", "hint")
        }

    def __str__(self) -> str:
        """Return the message on one line, and the hint on a separate line."""
        return _sentence(self)


class Place(NamedTuple):
    """A place in a file: line and column from 1 (0: the whole file), and the path of keys there."""

    file: str
    line: int = 0
    column: int = 0
    key: str = ""

    def __str__(self) -> str:
        """Return the place as editors understand it, followed by the keys."""
        spot = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{spot}: {self.key}" if self.key else spot


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: in an image, a rootfs, a recipe or a chain of certificates.

    Attributes:
        where: a row, a document, a path; a `Place` if it is in a text file.
        what: what is wrong, one phrase.
        observed: what was found.
        expected: what should have been found.
        hint: what to do next.
        severity: whether it fails a verification (error), is advice (warning), or only worth
            knowing (note).
        rule: the id of the rule that found it; a check need not know it, `otabuild.findings` fills
            it in.
    """

    where: str | Place
    what: str
    observed: object = None
    expected: object = None
    hint: str = ""
    severity: Severity = "error"
    rule: str = ""

    @classmethod
    def of_error(cls, rule: str, error: OtabuildError) -> Finding:
        """Make a finding from an error that a check raised.

        Raises:
            StorageError: the error itself, if this host failed: that says nothing about what is
                checked.
        """
        if isinstance(error, StorageError):
            raise error
        return cls(error.where, error.what, error.observed, error.expected, error.hint, rule=rule)

    def error(self, kind: type[E]) -> E:
        """Return the finding as an error of a class."""
        return kind(
            self.what,
            where=self.where,
            observed=self.observed,
            expected=self.expected,
            hint=self.hint,
        )

    def to_value(self) -> dict[str, str]:
        """Return the finding as plain JSON values, without those it does not have."""
        names = ("rule", "where", "what", "observed", "expected", "severity", "hint")
        return {
            name: str(value) for name in names if (value := getattr(self, name)) not in (None, "")
        }

    @property
    def place(self) -> Place:
        """Where it is, as a place; a file as a whole, if nothing else is known."""
        return self.where if isinstance(self.where, Place) else Place(self.where)

    @property
    def message(self) -> str:
        """The finding in the form of an error message."""
        return _sentence(self)

    @property
    def facts(self) -> str:
        """Where it is, what is wrong, what was observed and expected; one line, safe to print."""
        return _facts(self)

    def __str__(self) -> str:
        """Return severity, finding and rule on a line, safe to print, and the hint on another."""
        return _with_hint(f"{self.severity}: {_facts(self)} [{self.rule}]", self.hint)


def _sentence(found: OtabuildError | Finding) -> str:
    return _with_hint(_facts(found), found.hint)


def _with_hint(text: str, hint: str) -> str:
    return f"{text}\n  hint: {printable_lines(hint)}" if hint else text


def _facts(found: OtabuildError | Finding) -> str:
    where = str(found.where)
    text = f"{where}: {found.what}" if where else found.what
    facts = [
        f"{name} {value}"
        for name, value in (("observed", found.observed), ("expected", found.expected))
        if value is not None
    ]
    return printable(f"{text} ({', '.join(facts)})" if facts else text)


class RecipeError(OtabuildError):
    """A recipe that cannot be loaded; lists every problem in line order, each with its `Place`."""

    def __init__(self, problems: Iterable[Finding]) -> None:
        self.problems = tuple(sorted(problems, key=lambda found: found.place))
        count = f"{len(self.problems)} problems" if len(self.problems) > 1 else "a problem"
        super().__init__(f"{count} in the recipe", where=self.problems[0].place.file)

    def to_value(self) -> dict[str, object]:
        """Return the error with each of its problems, as plain JSON values."""
        problems = [
            {
                **found.place._asdict(),
                "what": found.what,
                "observed": found.observed,
                "expected": found.expected,
                "hint": found.hint,
            }
            for found in self.problems
        ]
        return {**super().to_value(), "problems": problems}

    def __str__(self) -> str:
        """Return every problem, one below the other."""
        head = [f"{self.where}: {len(self.problems)} problems"] if len(self.problems) > 1 else []
        return "\n".join([*head, *(found.message for found in self.problems)])


class InputError(OtabuildError):
    """An input of the build that otabuild cannot use."""


class InputChangedError(InputError):
    """An input that changed while it was read."""


class InputUnreadableError(InputError):
    """An input that the operating system does not allow to be read."""


class UnsupportedEntryError(InputError):
    """An entry of a rootfs that the format cannot represent."""


class MisplacedEntryError(InputError):
    """An entry of a rootfs in an impossible place: below a link, or instead of a directory."""


class TrustError(OtabuildError):
    """An invalid signature, certificate or chain."""


class FormatError(OtabuildError):
    """A document (JSON, YAML, JWT) that does not follow the format."""


class ContainerError(OtabuildError):
    """An artifact that is not the strict ZIP of the format."""


class TableError(OtabuildError):
    """A file or resource table that does not follow the format."""


class FilterError(OtabuildError):
    """A resource whose filters cannot be resolved."""


class IntegrityError(OtabuildError):
    """Bytes that do not match their digest or size."""


class NotVerifiedError(IntegrityError):
    """An image in which verification found errors; lists all of them."""

    def __init__(self, image: str, findings: Iterable[Finding], *, hint: str = "") -> None:
        self.findings = tuple(findings)
        super().__init__("the image is not valid", where=image, hint=hint)

    def __str__(self) -> str:
        """Return the message, and each finding on a separate line."""
        lines = [super().__str__(), *map(str, self.findings)]
        return "\n".join(lines).replace("\n", "\n  ")


class LimitError(OtabuildError):
    """An input that is larger, longer or deeper than the limits allow."""


class PathError(OtabuildError):
    """A path that is not safe or not normalised."""


class MetaApplyError(OtabuildError):
    """Metadata (owner, mode, attribute, device) that could not be applied to a deployed entry."""


class StateError(OtabuildError):
    """A file, folder or lock that is not in the required state."""


class StorageError(OtabuildError):
    """The operating system failed to read or write (no space, I/O error, too many files)."""


class StoreError(StorageError):
    """A store or web server failed: not reached, refused, too slow, or with a broken answer."""


def how_to_install(extra: str) -> str:
    """Return a hint: what provides an extra.

    It names no package, because nothing is published under the name of this one.
    """
    return f"install it, in your clone of otabuild: `pip install -c constraints.txt '.[{extra}]'`"


def printable(text: object) -> str:
    """Return text that is safe to print on one line.

    Control characters, those that change the direction of text, lone surrogates and the like are
    escaped as in Python.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(char if char.isprintable() else _escaped(char) for char in shown)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode()


def printable_lines(text: str) -> str:
    """Return text of several lines, each of them safe to print."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(value: object) -> str:
    r"""Return a value as indented JSON, safe to print: `printable`'s escapes become `\uXXXX`."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
