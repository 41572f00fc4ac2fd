"""The sys_config of an ECU: YAML that is stored byte for byte and read by clients (section 5)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
    ValidationInfo,
)

from otabuild.errors import FormatError
from otabuild.format import limits
from otabuild.format.document import joined, value_path
from otabuild.format.strict_yaml import KINDS, YamlNode, check_constructible, parse_yaml

T = TypeVar("T")

_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_SYSCTL = re.compile(r"[A-Za-z0-9_./*-]+ *= *[^\n]*\S")


def _hostname(text: str) -> str:
    if not _HOSTNAME.fullmatch(text):
        raise ValueError(
            "is not a host name: expected letters, digits, dots and dashes, such as main-ecu"
        )
    return text


def _path(text: str) -> str:
    if not text.startswith("/") or ".." in text.split("/") or "\0" in text or "\n" in text:
        raise ValueError(
            "is not a safe path: expected an absolute path without .., such as /etc/netplan"
        )
    return text


def _setting(text: str) -> str:
    if not _SYSCTL.fullmatch(text):
        raise ValueError("is not a kernel setting: expected key=value, such as vm.swappiness=10")
    return text


def _text(text: str) -> str:
    if not text or any(c in text for c in "\0\n"):
        raise ValueError("is empty, or more than one line")
    return text


def _number(value: object, info: ValidationInfo) -> object:
    """Read a number in quotes, as clients do, if the caller wants types only."""
    if not (isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value)):
        return value
    if info.context != _TYPES_ALONE:
        raise ValueError("is a number in quotes; write it without")
    return int(value)


def _size(number: int) -> int:
    if number < 1:
        raise ValueError("is not a valid size of a swap file: expected at least 1")
    return number


_TYPES_ALONE = "types alone"


def _demanded(check: Callable[[T], T]) -> AfterValidator:
    """Check a value against what otabuild writes, not only against the types of the format.

    Callers who want types only, as the format does, say so in the context.
    """

    def validate(value: T, info: ValidationInfo) -> T:
        return value if info.context == _TYPES_ALONE else check(value)

    return AfterValidator(validate)


Text = Annotated[StrictStr, _demanded(_text)]
AbsolutePath = Annotated[StrictStr, _demanded(_path)]


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="allow", validate_by_alias=True, validate_by_name=True
    )


class ExtraMount(_Part):
    """A mount that the client adds to /etc/fstab."""

    file_system: Text
    mount_point: AbsolutePath
    type: Text
    options: Text | None = None


class Swap(_Part):
    """A swap file; its size is in GiB."""

    filepath: AbsolutePath
    size: Annotated[StrictInt, BeforeValidator(_number), _demanded(_size)]


class SysConfig(_Part):
    """What a client sets up on its ECU in addition to the rootfs."""

    hostname: Annotated[StrictStr, _demanded(_hostname)]
    extra_mount: tuple[ExtraMount, ...] | None = None
    swap: Swap | None = None
    sysctl: tuple[Annotated[StrictStr, _demanded(_setting)], ...] | None = None
    persist_files: tuple[AbsolutePath, ...] | None = None
    network: dict[Any, Any] | None = None
    ecu_info: dict[Any, Any] | None = Field(default=None, alias="otaclient.ecu_info")
    proxy_info: dict[Any, Any] | None = Field(default=None, alias="otaclient.proxy_info")


_KNOWN = frozenset(field.alias or name for name, field in SysConfig.model_fields.items())


def parse_sys_config(raw: bytes, where: str) -> SysConfig:
    """Parse a sys_config that will go into an image; `where` names its file, for messages.

    Raises:
        FormatError: it is not a sys_config, has a value that no client can use, or has something
            that clients ignore silently or read in two ways: an unknown key, a nested `otaclient:`,
            a tag, a duplicate key. The message names the lines of such places.
        LimitError: more than 1 MiB.
    """
    config, notes = read_sys_config(raw, where)
    if notes:
        raise FormatError(joined(notes), where=where)
    return config


def read_sys_config(raw: bytes, where: str) -> tuple[SysConfig, tuple[str, ...]]:
    """Read the sys_config of an image. The format only requires known keys and types.

    Returns:
        The sys_config, and a note for each place that otabuild would not write.

    Raises:
        FormatError: it is not a sys_config. The message names the lines of the wrong places.
        LimitError: more than 1 MiB.
    """
    limits.check_length(raw, limits.DOCUMENT, "sys_config", where)
    tree, remarks = parse_yaml(raw, where)
    check_constructible(raw, where)
    if tree.kind != "mapping":
        raise FormatError(
            "a sys_config is a mapping with at least a hostname",
            where=where,
            observed=KINDS[tree.kind],
        )
    # Other keys are oddities.
    values = {key: value for key, value in tree.plain().items() if isinstance(key, str)}
    notes = [*((remark.place.line, remark.what) for remark in remarks), *_oddities(tree)]
    try:
        config = SysConfig.model_validate(values)
    except ValidationError as error:
        problems = error.errors()
        found = [_problem(problem, tree) for problem in problems]
        # The format demands types (section 5); a value that otabuild would not write is a note.
        if any(problem["type"] != "value_error" for problem in problems):
            raise FormatError(
                joined(f"line {line}: {text}" for line, text in found), where=where
            ) from None
        notes += found
        config = SysConfig.model_validate(values, context=_TYPES_ALONE)
    return config, tuple(f"line {line}: {text}" for line, text in sorted(notes))


def _oddities(tree: YamlNode) -> list[tuple[int, str]]:
    found = []
    for key, value in tree.pairs:
        if key.text == "otaclient":
            text = (
                "clients ignore a nested otaclient: write otaclient.ecu_info and "
                "otaclient.proxy_info as one key each"
            )
            found.append((key.line, text))
        elif key.text not in _KNOWN:
            found.append(
                (
                    key.line,
                    (
                        f"unknown key {key.text!r}, which clients ignore; known are "
                        f"{', '.join(sorted(_KNOWN))}"
                    ),
                )
            )
        elif value.kind == "null":
            found.append((key.line, f"{key.text} has no value; leave the key out"))
    return found


def _problem(error: Any, tree: YamlNode) -> tuple[int, str]:
    node, trail, _ = tree.follow(error["loc"])
    missing = error["type"] == "missing"
    keys = [*trail, error["loc"][-1]] if missing else trail
    path = value_path(keys)
    if missing:
        return node.line, f"{path} is missing"
    seen = KINDS[node.kind] if node.kind in ("list", "mapping", "null") else repr(node.text)[:80]
    if error["type"] == "string_type" and node.kind in ("integer", "number", "boolean", "date"):
        text = (
            f"{path}: YAML reads {seen} as {KINDS[node.kind]}; write it in quotes: "
            f'"{node.text[:80]}"'
        )
        return node.line, text
    message = (
        error["msg"]
        .removeprefix("Value error, ")
        .replace("tuple", "list")
        .replace("dictionary", "mapping")
    )
    if error["type"] == "value_error":
        return node.line, f"{path}: {seen} {message}"
    return node.line, f"{path}: {message[:1].lower()}{message[1:]}, not {seen}"
