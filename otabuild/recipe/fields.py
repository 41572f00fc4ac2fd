"""The types of values in recipes, each with its check and its description for the JSON Schema."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictInt,
    StrictStr,
    ValidationInfo,
)

from otabuild.errors import InputError
from otabuild.format import limits
from otabuild.format.architectures import NAMES, architecture_name
from otabuild.format.capabilities import parse_capability
from otabuild.format.release_name import check_release_name
from otabuild.format.sizes import SIZE, parse_size
from otabuild.format.urls import is_url, parse_url
from otabuild.rootfs.patterns import translated

_OWNER = re.compile(r"([0-9]{1,10}):([0-9]{1,10})")


class RefusedError(ValueError):
    """A refused value, with what would be accepted and what to do next."""

    def __init__(
        self, what: str, *, observed: str | None = None, expected: str | None = None, hint: str = ""
    ) -> None:
        super().__init__(what)
        self.what, self.observed, self.expected, self.hint = what, observed, expected, hint


class Model(BaseModel):
    """A mapping of a recipe: its keys are exactly the fields of the model, with dashes."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        validate_by_alias=True,
        validate_by_name=False,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


@dataclass(frozen=True)
class PathBase:
    """The `folder` that paths of a recipe are relative to, and the `root` of what they become.

    Paths below the root become relative to it. Both are absolute.
    """

    folder: str
    root: str

    def relative(self, path: str) -> str:
        """Return a path of the recipe without `.` and `..`.

        It is relative to the root if it is below it, else absolute.
        """
        whole = os.path.normpath(os.path.join(self.folder, path))
        below = os.path.relpath(whole, self.root)
        return whole if below == ".." or below.startswith("../") else below


def one_of(*kinds: str, word: str = "", uri: str = "") -> Discriminator:
    """Distinguish the models of a union by the only key of `kinds`, or by being a word or URI.

    Each model of the union is tagged `<kind>`, that of a URI `<uri>`. The angle brackets prevent
    confusion of a tag with a key. `uri` is an example of the URI; without it, there is none.
    """

    def kind(value: Any) -> str | None:
        # A mapping has a key of its kind, a word or a URI has none, and a model is asked for those
        # that it was made of.
        fields = value if isinstance(value, dict) else _fields_set(value)
        found = [name for name in kinds if name in fields]
        if word and value == word:
            found = [word]
        elif uri and isinstance(value, str) and "://" in value:
            found = ["uri"]
        return f"<{found[0]}>" if len(found) == 1 else None

    due = f"contain exactly one of {', '.join(kinds)}"
    texts = [
        f"be {text}" for text in (word and f"`{word}`", uri and f"a URI such as `{uri}`") if text
    ]
    message = f"must {', '.join([*texts, f'or {due}'] if texts else [due])}"
    return Discriminator(kind, custom_error_type="one_of", custom_error_message=message)


def _fields_set(value: Any) -> set[str]:
    """Return the keys that a model was made of: Pydantic asks also about models to serialize."""
    return {name.replace("_", "-") for name in getattr(value, "model_fields_set", ())}


def _matching(pattern: str, what: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise RefusedError(f"is not a valid {what}", expected=_EXPECTED[what])
        return text

    return AfterValidator(check)


_EXPECTED = {
    "name": "letters, digits, dots, dashes and underscores, starting with a letter or digit",
    "name of an environment variable": "letters, digits and underscores, not starting with a digit",
    "platform": "os/architecture, such as linux/arm64",
    "absolute path": "a path from the root of the rootfs, such as /usr/bin/ping, without . and ..",
}


def _accepted_by(parse: Callable[[str], object]) -> AfterValidator:
    def check(text: str) -> str:
        try:
            parse(text)
        except InputError as error:
            raise RefusedError(error.what, expected=error.expected, hint=error.hint) from None
        return text

    return AfterValidator(check)


def _text(text: str) -> str:
    if not text:
        raise RefusedError("is empty", hint="write a value, or leave the key out")
    if "\0" in text:
        raise RefusedError("contains a NUL character")
    return text


def _path(text: str, info: ValidationInfo) -> str:
    return info.context.relative(text) if isinstance(info.context, PathBase) else text


def _path_or_url(text: str, info: ValidationInfo) -> str:
    if not is_url(text):
        return _path(text, info)
    try:
        parse_url(text)
    except InputError as error:  # its place is the URL without what may be a secret
        raise RefusedError(
            error.what, observed=error.where, expected=error.expected, hint=error.hint
        ) from None
    return text


def _path_or_stdin(text: str, info: ValidationInfo) -> str:
    if text == "-":
        return text
    found = _path(text, info)
    return "./-" if found == "-" else found  # a file named `-`, as in other programs


Text = Annotated[StrictStr, AfterValidator(_text), Field(json_schema_extra={"minLength": 1})]
"""A non-empty string."""

Path = Annotated[Text, AfterValidator(_path)]
"""A path of the host. In the recipe it is relative to its folder, in the model relative to the root (or absolute)."""

PathOrUrl = Annotated[Text, AfterValidator(_path_or_url)]
"""A path of the host, or the URL of a store or of what is in one."""

PathOrStdin = Annotated[Text, AfterValidator(_path_or_stdin)]
"""A path of the host, or `-` for standard input."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
# Files of the work directory are named after it, and a file name has at most 255 bytes.
_NAME_MAX = 100


def _not_too_long(text: str) -> str:
    if len(text) > _NAME_MAX:
        raise RefusedError(
            "is too long", observed=f"{len(text)} characters", expected=f"at most {_NAME_MAX}"
        )
    return text


def is_name(text: str) -> bool:
    """Return whether a recipe can have this name."""
    return len(text) <= _NAME_MAX and re.fullmatch(_NAME, text) is not None


Name = Annotated[
    StrictStr,
    AfterValidator(_not_too_long),
    _matching(_NAME, "name"),
    Field(json_schema_extra={"pattern": f"^{_NAME}$", "maxLength": _NAME_MAX}),
]
"""The name of a recipe, rootfs or ECU."""


def _architecture(text: str) -> str:
    folded = text.casefold()
    known = folded if folded in NAMES else architecture_name(text)
    if text != known:
        raise RefusedError(
            "is not what images call this architecture", hint=f"did you mean `{known}`?"
        )
    return text


Architecture = Annotated[Name, AfterValidator(_architecture)]
"""The name of an architecture. Alternative names of an architecture that the format names are refused."""

EnvName = Annotated[
    StrictStr, _matching("[A-Za-z_][A-Za-z0-9_]*", "name of an environment variable")
]
"""The name of an environment variable."""

Platform = Annotated[StrictStr, _matching("[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?", "platform")]
"""A platform in the form that OCI uses."""

Capability = Annotated[StrictStr, _accepted_by(parse_capability)]
"""File capabilities in the form that setcap uses."""

Pattern = Annotated[Text, _accepted_by(translated)]
"""An exclude pattern."""

ReleaseName = Annotated[Text, _accepted_by(check_release_name)]
"""The name of a release in a store."""

RootfsPath = Annotated[StrictStr, _matching(r"/|(/(?!\.{1,2}(/|$))[^/\0]+)+", "absolute path")]
"""A path inside a rootfs."""


class Ids(NamedTuple):
    """The numeric owner of an entry."""

    uid: int
    gid: int


def _ids(value: object) -> Ids:
    if not isinstance(value, str):
        raise RefusedError("must be a string")
    found = _OWNER.fullmatch(value)
    if not found or max(ids := Ids(int(found[1]), int(found[2]))) > limits.OWNER:
        raise RefusedError(
            "is not a valid owner",
            expected=f'"uid:gid" in numbers of 0 to {limits.OWNER}, such as "0:0"',
        )
    return ids


def _keep_or_ids(value: object) -> object:
    return value if value == "keep" else _ids(value)


def _owner_schema(pattern: str) -> Any:
    return Annotated[str, Field(pattern=pattern)]


NumericOwner = Annotated[
    Ids, BeforeValidator(_ids, json_schema_input_type=_owner_schema(f"^{_OWNER.pattern}$"))
]
"""A uid and gid, such as `"0:0"`."""

Owner = Annotated[
    Literal["keep"] | Ids,
    BeforeValidator(
        _keep_or_ids, json_schema_input_type=_owner_schema(f"^(keep|{_OWNER.pattern})$")
    ),
]
"""`keep`, or the uid and gid that every entry gets."""


def _mode(value: object) -> object:
    expected = 'four octal digits in quotes, such as "0644"'
    if not isinstance(value, str):
        raise RefusedError("must be a string", expected=expected)
    if not re.fullmatch("[0-7]{3,4}", value):
        raise RefusedError("is not a valid mode", expected=expected)
    return int(value, 8)


Mode = Annotated[
    int,
    BeforeValidator(_mode, json_schema_input_type=Annotated[str, Field(pattern="^[0-7]{3,4}$")]),
]
"""Permission bits (including setuid, setgid, sticky), written as octal text."""


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_size(value)
    except InputError as error:
        raise RefusedError(error.what, expected=error.expected) from None


_SIZE_INPUT: Any = int | Annotated[str, Field(pattern=f"^{SIZE}$")]
Size = Annotated[StrictInt, BeforeValidator(_size, json_schema_input_type=_SIZE_INPUT)]
"""A size in bytes; in a recipe also `32KiB` and the like."""


def size_of(least: int, most: int) -> AfterValidator:
    """Return a check that a size is between two others, both included."""

    def check(size: int) -> int:
        if not least <= size <= most:
            raise RefusedError("is out of range", expected=f"{least} to {most} bytes")
        return size

    return AfterValidator(check)


class OciReference(NamedTuple):
    """An image in an OCI layout: the layout's path, and a tag or digest (`sha256:…`), if any.

    None stands for the only image.
    """

    layout: str
    reference: str | None


def _oci(value: object, info: ValidationInfo) -> object:
    expected = '"layout-dir:tag" or "layout-dir@sha256:…"'
    if not isinstance(value, str):
        raise RefusedError("must be a string", expected=expected)
    path, at, digest = value.rpartition("@")
    if not at or "/" in digest:  # no @, or one in the name of a folder
        path, at, digest = value, "", ""
    if at and not re.fullmatch("sha256:[0-9a-f]{64}", digest):
        raise RefusedError(
            "has no digest after the @", expected="sha256: and 64 lowercase hex digits"
        )
    # Like umoci and skopeo: a tag can be a whole name, with / and :
    layout, colon, tag = path.partition(":")
    if (colon and not tag) or not layout:
        raise RefusedError("is not a reference to an image", expected=expected)
    return OciReference(_path(layout, info), digest or tag or None)


Oci = Annotated[
    OciReference, BeforeValidator(_oci, json_schema_input_type=Annotated[str, Field(min_length=1)])
]
"""`layout-dir:tag` or `layout-dir@sha256:…`."""
