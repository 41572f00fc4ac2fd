"""Every error that otabuild raises on purpose: one root class, and one sentence for each subclass.

Core code raises these errors, and only the shell displays them. An error says what is wrong, where, what was observed,
what was expected, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


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
        self, what: str, *, where: object = "", observed: object = None, expected: object = None, hint: str = ""
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = str(where)
        self.observed = None if observed is None else str(observed)
        self.expected = None if expected is None else str(expected)
        self.hint = hint

    def to_value(self) -> dict[str, object]:
        """Return the error as plain JSON values."""
        return {name: getattr(self, name) for name in ("what", "where", "observed", "expected", "hint")}

    def __str__(self) -> str:
        """Return the message on one line, and the hint on a separate line."""
        text = printable(f"{self.where}: {self.what}" if self.where else self.what)
        facts = [
            f"{name} {printable(value)}"
            for name, value in (("observed", self.observed), ("expected", self.expected))
            if value is not None
        ]
        if facts:
            text += f" ({', '.join(facts)})"
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class Problem(NamedTuple):
    """One problem in a recipe: file, line and column, path of keys, and what to do about it.

    Lines and columns count from 1; 0 means the file as a whole.
    """

    file: str
    line: int
    column: int
    key: str
    what: str
    observed: str | None = None
    expected: str | None = None
    hint: str = ""

    def __str__(self) -> str:
        """Return the problem in the form of an error message."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        where = f"{place}: {self.key}" if self.key else place
        return str(
            OtabuildError(self.what, where=where, observed=self.observed, expected=self.expected, hint=self.hint)
        )


class RecipeError(OtabuildError):
    """A recipe that cannot be loaded; lists every problem in line order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem[:4]))
        count = f"{len(self.problems)} problems" if len(self.problems) > 1 else "a problem"
        super().__init__(f"{count} in the recipe", where=self.problems[0].file)

    def to_value(self) -> dict[str, object]:
        """Return the error with each of its problems, as plain JSON values."""
        return {**super().to_value(), "problems": [problem._asdict() for problem in self.problems]}

    def __str__(self) -> str:
        """Return every problem, one below the other."""
        head = [f"{self.where}: {len(self.problems)} problems"] if len(self.problems) > 1 else []
        return "\n".join([*head, *map(str, self.problems)])


class InputError(OtabuildError):
    """An input of the build that otabuild cannot use."""


class InputChangedError(InputError):
    """An input that changed while it was read."""


class InputUnreadableError(InputError):
    """An input that the operating system does not allow to be read."""


class UnsupportedEntryError(InputError):
    """An entry of a rootfs that the format cannot represent."""


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

    def __init__(self, image: str, findings: Iterable[object]) -> None:
        self.findings = tuple(findings)
        super().__init__("the image is not valid", where=image)

    def __str__(self) -> str:
        """Return the message, and each finding on a separate line."""
        return "\n".join([super().__str__(), *(f"{finding}" for finding in self.findings)]).replace("\n", "\n  ")


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


def printable(text: object) -> str:
    """Return text that is safe to print: control characters, lone surrogates and the like are escaped as in Python."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in shown)
