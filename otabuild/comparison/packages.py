"""The packages installed in a rootfs, from the databases of dpkg and rpm."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping

from otabuild.errors import OtabuildError, StorageError, TableError
from otabuild.image.image import Payload
from otabuild.image.tables import REGULARS
from otabuild.storage.sqlite_read import open_database

_LARGEST = 256 << 20
_DPKG = "/var/lib/dpkg/status"
_DPKG_FOLDER = "/var/lib/dpkg/status.d/"
_RPM = ("/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite")

Packages = Mapping[str, tuple[str, ...]]
"""Versions by name; with dpkg, `name:architecture` if several architectures can be installed together."""


class PackageDatabase:
    """The package databases of a payload: the digests of their files, and how to read them.

    Two payloads with equal `key` have the same packages.
    """

    def __init__(self, payload: Payload) -> None:
        self._payload = payload
        table = payload.file_table
        condition = "WHERE path IN (?, ?, ?) OR (path > ? AND path < ?) ORDER BY path"
        bounds = (_DPKG, *_RPM, _DPKG_FOLDER, _DPKG_FOLDER[:-1] + "0")
        found = [e for e in table.select(REGULARS, condition, bounds) if not e.path.endswith(".md5sums")]
        self._files = [entry.path for entry in found if entry.size <= _LARGEST]
        self.key = tuple((entry.path, entry.digest) for entry in found)

    def read(self) -> tuple[Packages, str | None]:
        """Return the packages, and why a database could not be read, if so.

        Raises:
            IntegrityError, FilterError: a database cannot be rebuilt from the image.
            StorageError: no space for a temporary file.
        """
        found: dict[str, set[str]] = {}
        problem: str | None = None
        for path in self._files:
            with self._payload.open(path) as file:
                raw = file.read()
            try:
                for name, version in rpm_packages(raw) if path in _RPM else dpkg_packages(raw):
                    found.setdefault(name, set()).add(version)
            except StorageError:  # of this host, not of the database
                raise
            except OtabuildError as error:
                problem = f"the packages in {path} cannot be read: {error}"
        return {name: tuple(sorted(versions)) for name, versions in sorted(found.items())}, problem


def dpkg_packages(raw: bytes) -> Iterator[tuple[str, str]]:
    """Yield name and version of each installed package of a dpkg status file (or of one file of status.d)."""
    for stanza in re.split(r"\n\s*\n", raw.decode("utf-8", "replace")):
        fields = {
            name.lower(): value.strip()
            for name, colon, value in (line.partition(":") for line in stanza.splitlines())
            if colon and name and not name[0].isspace()
        }
        state = fields.get("status", "installed").split()
        if "package" in fields and state[-1:] not in (["not-installed"], ["config-files"]):
            several = fields.get("multi-arch") == "same"
            yield fields["package"] + (f":{fields.get('architecture')}" if several else ""), fields.get("version", "")


_NAME, _VERSION, _RELEASE, _EPOCH = 1000, 1001, 1002, 1003
_STRING, _INT32 = 6, 4


def rpm_packages(raw: bytes) -> Iterator[tuple[str, str]]:
    """Yield name and `[epoch:]version-release` of each package of an rpmdb.sqlite.

    Raises:
        TableError: not such a database.
        LimitError: reading it takes too long.
    """
    # On a running system the database is in write-ahead mode; at rest, without its log, it reads like any other.
    database = open_database((raw[:18], b"\1\1", raw[20:]), "rpmdb.sqlite")
    try:
        for (blob,) in database.query("SELECT blob FROM Packages"):
            tags = _header_tags(blob if isinstance(blob, bytes) else b"")
            epoch = f"{tags[_EPOCH]}:" if _EPOCH in tags else ""
            yield str(tags.get(_NAME, "")), f"{epoch}{tags.get(_VERSION, '')}-{tags.get(_RELEASE, '')}"
    finally:
        database.close()


def _header_tags(blob: bytes) -> dict[int, str | int]:
    """Return the wanted tags of an rpm header: two counts, then entries (tag, type, offset, count), then their data."""
    tags: dict[int, str | int] = {}
    try:
        entries, size = struct.unpack_from(">2I", blob)
        data = blob[8 + 16 * entries :]
        if len(data) != size:
            raise TableError("an rpm header has a different size", observed=len(data), expected=size)
        for at in range(entries):
            tag, kind, offset, _ = struct.unpack_from(">4I", blob, 8 + 16 * at)
            if tag in (_NAME, _VERSION, _RELEASE) and kind == _STRING:
                tags[tag] = data[offset : data.index(b"\0", offset)].decode("utf-8", "replace")
            elif tag == _EPOCH and kind == _INT32:
                (tags[tag],) = struct.unpack_from(">I", data, offset)
    except (struct.error, ValueError) as error:
        raise TableError("an rpm header cannot be read", observed=error) from None
    return tags


_PARTS = re.compile(r"(\D*)(\d*)", re.ASCII)


def version_key(version: str) -> tuple[object, ...]:
    """Return a sort key for versions as in dpkg and rpm: epoch, then letters and numbers in turn; `~` sorts first."""
    epoch, colon, rest = version.partition(":")
    if not colon or not re.fullmatch("[0-9]+", epoch):
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return _number(epoch), _parts(upstream if dash else rest), _parts(revision if dash else "")


def _parts(text: str) -> list[tuple[list[int], tuple[int, str]]]:
    """Return alternating letters and numbers, followed by exactly one empty pair: nothing and `0` are equal."""
    end = ([0], _number("0"))
    found = [([*map(_rank, letters), 0], _number(digits)) for letters, digits in _PARTS.findall(text)]
    while found and found[-1] == end:
        found.pop()
    return [*found, end]


def _number(digits: str) -> tuple[int, str]:
    """Return a sort key for a number of any length; Python converts no more than 4,300 digits."""
    significant = digits.lstrip("0")
    return len(significant), significant


def _rank(letter: str) -> int:
    if letter == "~":
        return -1
    return ord(letter) if letter.isalpha() else ord(letter) + 0x110000
