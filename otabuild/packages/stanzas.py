"""Stanzas, in which dpkg, opkg and Python record packages: fields of name, colon and value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from otabuild.errors import LimitError, TableError
from otabuild.format import limits

DATABASE = 32 * limits.MIB
"""The largest text database that is read, in bytes; that of a desktop with 3,000 packages has 4
MiB."""
_STANZA = 8 * limits.MIB
_COUNT = 200_000
_END = re.compile(rb"\n(?:[ \t\r]*\n)+")


def blocks(raw: bytes) -> Iterator[bytes]:
    """Yield the stanzas of a database: what empty lines separate.

    Raises:
        LimitError: one of them is longer than 8 MiB, or there are too many.
    """
    at, count = 0, 0
    while at < len(raw):
        found = _END.search(raw, at)
        end = found.start() if found else len(raw)
        count += 1
        if end - at > _STANZA:
            raise LimitError(
                "a stanza that does not end",
                observed=f"{end - at} bytes",
                expected=f"at most {_STANZA}",
            )
        if count > _COUNT:
            raise LimitError("too many stanzas", expected=f"at most {_COUNT:,}")
        yield raw[at:end]
        at = found.end() if found else len(raw)


class Fields:
    """Reads the wanted fields of stanzas.

    Names are compared without case, and continuation lines are left out.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._line = re.compile(
            rf"^({'|'.join(names)})[ \t]*:(.*)$".encode(), re.IGNORECASE | re.MULTILINE
        )

    def of(self, stanza: bytes) -> dict[str, str]:
        """Return the wanted fields that a stanza has, by their names in small letters.

        Raises:
            TableError: a field occurs twice.
        """
        fields: dict[str, str] = {}
        for found in self._line.finditer(stanza):
            name = found[1].decode("ascii").lower()
            if name in fields:
                raise TableError(
                    "a stanza has a field twice", where=fields.get("package", ""), observed=name
                )
            fields[name] = found[2].decode("utf-8", "replace").strip()
        return fields
