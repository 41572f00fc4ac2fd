"""Strict JSON documents: bytes to frozen models and back.

Anything that two JSON readers could understand differently is refused: duplicate keys, keys that
are equal under case folding, NaN, a byte order mark, null. Unknown fields are kept. Signatures and
hashes always cover the bytes as read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from typing import Any, NoReturn, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from otabuild.errors import FormatError, LimitError
from otabuild.format import limits
from otabuild.format.json_text import NestingError, load_json

_SHOWN = 20


def _few(value: object) -> object:
    if isinstance(value, list) and len(value) > limits.ENTRIES:
        raise ValueError(f"more than {limits.ENTRIES} entries")
    return value


Bounded = BeforeValidator(_few)
"""Refuses a long list before its entries are checked: each wrong entry produces a kilobyte of
errors."""


def joined(problems: Iterable[str]) -> str:
    """Join problems into one sentence: the first 20, and whether more follow."""
    found = list(islice(problems, _SHOWN + 1))
    return "; ".join(found if len(found) <= _SHOWN else [*found[:_SHOWN], "and more"])


class Document(BaseModel):
    """A JSON object of the format. Unknown fields are kept; absent optional ones not written."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        validate_by_name=True,
        validate_by_alias=True,
        allow_inf_nan=False,
    )

    @classmethod
    def from_json(cls, raw: bytes, where: str, limit: int = limits.DOCUMENT) -> Self:
        """Parse the bytes of a document.

        Raises:
            FormatError: the bytes are not strict JSON or not this document. The message names the
                wrong fields.
            LimitError: more than `limit` bytes, or nested too deeply.
        """
        return cls.from_value(parse_json(raw, where, limit), where)

    @classmethod
    def from_value(cls, value: object, where: str) -> Self:
        """Validate a parsed JSON value.

        Raises:
            FormatError: the value is not this document. The message names the wrong fields.
        """
        try:
            document = cls.model_validate(value)
        except ValidationError as error:
            raise FormatError(
                joined(_problem(dict(e)) for e in error.errors()), where=where
            ) from None
        absent = cls._constants() - document.model_fields_set
        if absent:
            names = (
                f"{field.alias or name}: field required"
                for name, field in cls.model_fields.items()
                if name in absent
            )
            raise FormatError(joined(names), where=where)
        return document

    @classmethod
    def _constants(cls) -> set[str]:
        """Fields with one legal value: they may be left out when a document is made, not read."""
        return {
            name
            for name, field in cls.model_fields.items()
            if not field.is_required() and field.default is not None
        }

    def to_value(self) -> dict[str, Any]:
        """Return the document as plain JSON values, without absent fields."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")

    def to_json(self) -> bytes:
        """Return the bytes to write: compact UTF-8, keys in the order of the model."""
        return dump_json(self.to_value())


def value_path(keys: Iterable[str | int]) -> str:
    """Return where a value is in a document, such as `manifests[0].size`."""
    parts = [f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys]
    return "".join(parts).removeprefix(".")


def _problem(error: dict[str, Any]) -> str:
    path = value_path(error["loc"])
    # Our own checks of a whole object name what is wrong in it.
    is_told = error["type"] == "missing" or (
        error["type"] == "value_error" and isinstance(error["input"], dict)
    )
    seen = "" if is_told else f", not {error['input']!r:.80}"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return f"{path or 'document'}: {message[:1].lower()}{message[1:]}{seen}"


def dump_json(value: object) -> bytes:
    """Return compact UTF-8 JSON, keys in the order given."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def parse_json(raw: bytes, where: str, limit: int = limits.DOCUMENT) -> Any:
    """Parse JSON as strictly as the strictest client.

    Raises:
        FormatError: not UTF-8, a byte order mark, a duplicate key, NaN, null, or not JSON at all.
        LimitError: more than `limit` bytes, or nested more than 32 deep.
    """
    limits.check_length(raw, limit, "document", where)
    try:
        value = load_json(
            raw, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite
        )
        _refuse_oddities(value)
    except NestingError:
        expected = f"at most {limits.JSON_DEPTH} levels"
        raise LimitError("document nested too deeply", where=where, expected=expected) from None
    except ValueError as error:
        raise FormatError("not strict JSON", where=where, observed=error) from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    folded: set[str] = set()
    for key, _ in pairs:
        if key.casefold() in folded:
            raise ValueError(
                f"duplicate key {key!r} (names equal but for case count as duplicates)"
            )
        folded.add(key.casefold())
    return dict(pairs)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"constant {name}")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"number {text} is too large")
    return value


def _refuse_oddities(value: Any) -> None:
    """Refuse null, and strings that UTF-8 cannot encode, at any place."""
    if value is None:
        # Clients refuse null labels (section 1).
        raise ValueError("null: absent fields are left out")
    if isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, dict):
        for pair in value.items():
            for part in pair:
                _refuse_oddities(part)
    elif isinstance(value, list):
        for part in value:
            _refuse_oddities(part)
