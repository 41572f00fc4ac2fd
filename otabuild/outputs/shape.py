"""What all outputs have in common: values with their units, success and failure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

Bytes = Annotated[int, WithJsonSchema({"type": "integer", "minimum": 0, "unit": "bytes"})]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, WithJsonSchema({"type": "number", "minimum": 0, "unit": "seconds"})]
Time = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", "unit": "ISO 8601, UTC"}
    ),
]
Sha256 = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{64}$", "unit": "SHA-256 in hex"})
]
Digest = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$", "unit": "sha256: and hex"}
    ),
]
Path = Annotated[str, WithJsonSchema({"type": "string", "unit": "path"})]
ImagePath = Annotated[str, WithJsonSchema({"type": "string", "unit": "path or URL"})]

ABSENT: Any = Field(default_factory=str)
"""Marks a key that is not always there; a plain default would stand in the schema."""


class Shape(BaseModel):
    """A JSON object; a dash stands for the underscore of a name, and one at the end is left out."""

    model_config = ConfigDict(
        use_attribute_docstrings=True,
        alias_generator=lambda name: name.rstrip("_").replace("_", "-"),
    )


class OpenShape(Shape):
    """A JSON object with keys that are not listed."""

    model_config = ConfigDict(extra="allow")


class TrafficValue(Shape):
    """What reading images by URL took."""

    requests: Count
    """Requests."""
    bytes: Bytes
    """What came in their answers."""


class Output(Shape):
    """What every command prints that could do its work."""

    ok: bool
    """Whether the exit code is 0."""


class ReaderOutput(Output):
    """What every command prints that reads an image."""

    traffic: TrafficValue = ABSENT
    """Only if an image was read by URL."""


class ProblemValue(Shape):
    """A problem in a recipe."""

    file: Path
    """The recipe."""
    line: Count
    """From 1; 0: the file as a whole."""
    column: Count
    """From 1, in characters; 0: the file as a whole."""
    key: str
    """The path of keys there, such as `rootfs.main.source`."""
    what: str
    """What is wrong."""
    observed: Any
    """What was found; null if that is clear."""
    expected: Any
    """What should have been found; null if that is clear."""
    hint: str
    """What to do; may be empty."""


class ErrorValue(Shape):
    """An error, in the words of the message on standard error."""

    what: str
    """What is wrong."""
    where: str
    """The file, key, row or object in question; may be empty."""
    observed: str | None
    """What was found; null if that is clear."""
    expected: str | None
    """What should have been found; null if that is clear."""
    hint: str
    """What to do; may be empty."""
    problems: list[ProblemValue] = ABSENT
    """Only if the error is in a recipe: every problem of it."""


class FailureOutput(Shape):
    """What every command prints that could not do its work."""

    ok: Literal[False]
    """The exit code is not 0."""
    error: ErrorValue
    """Why."""


class FindingValue(Shape):
    """One thing that a rule found; what it does not have is left out."""

    rule: str
    """The id of the rule; see [Rules](rules.md)."""
    where: str = ABSENT
    """A row, a document, a path."""
    what: str
    """What is wrong."""
    observed: str = ABSENT
    """What was found."""
    expected: str = ABSENT
    """What should have been found."""
    severity: Literal["error", "warning", "note"]
    """Whether it fails a verification, is advice, or only worth knowing."""
    hint: str = ABSENT
    """What to do."""


class AspectValue(Shape):
    """One aspect in which two things differ."""

    name: str
    """Its name."""
    before: str | None
    """Its value in the first, as text; null if it has none."""
    after: str | None
    """Its value in the second, likewise."""


class EntryValue(Shape):
    """A path of a payload; what its kind does not have is left out."""

    path: Path
    """In the rootfs, absolute."""
    type: Literal["file", "directory", "symlink", "whiteout", "unknown"]
    """Its kind."""
    mode: str
    """Permission bits as four octal digits."""
    uid: int
    """Owner."""
    gid: int
    """Group."""
    size: Bytes = ABSENT
    """Of a regular file."""
    sha256: Sha256 = ABSENT
    """Of the content of a regular file."""
    target: str = ABSENT
    """Of a symlink."""
    links: Count = ABSENT
    """How many paths the inode has, if more than one."""
    xattrs: dict[str, str] = ABSENT
    """Extended attributes: name to value in hex."""


class WrittenOutput(ReaderOutput):
    """A file that was written."""

    path: Path
    """The file."""
    size: Bytes
    """Its size."""
    digest: Digest
    """Of its content."""


class FilesOutput(ReaderOutput):
    """Files that were written."""

    files: list[Path]
    """The files."""
