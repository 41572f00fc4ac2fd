"""Parses JSON text with one limit on nesting, whatever Python runs it."""

from __future__ import annotations

import json
import re
from typing import Any

from otabuild.format import limits

_STRINGS_AND_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


class NestingError(ValueError):
    """JSON that is nested too deeply."""

    def __init__(self) -> None:
        super().__init__(f"nested more than {limits.JSON_DEPTH} deep")


def load_json(raw: bytes | bytearray, **hooks: Any) -> Any:
    """Parse UTF-8 JSON of at most `limits.JSON_DEPTH` levels of objects and arrays.

    Args:
        raw: the bytes of the text.
        hooks: as for `json.loads`.

    Raises:
        NestingError: more levels.
        ValueError: not UTF-8, or not JSON.
    """
    text = raw.decode("utf-8")
    # The parser's own limit depends on the version of Python and on the stack of the thread. So it
    # never gets there.
    depth = 0
    for found in _STRINGS_AND_BRACKETS.finditer(text):
        if found[0] in ("[", "{"):
            depth += 1
            if depth > limits.JSON_DEPTH:
                raise NestingError
        elif found[0] in ("]", "}"):
            depth -= 1
    return json.loads(text, **hooks)
