"""An installed package, and what readers of databases share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from otabuild.errors import FormatError, InputError, LimitError, OtabuildError, TableError

PackageType = Literal["deb", "rpm", "apk", "opkg", "alpm", "pypi", "npm", "golang"]
SYSTEM_TYPES: tuple[PackageType, ...] = ("deb", "rpm", "apk", "opkg", "alpm")
"""The types of package managers that own the whole rootfs."""


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """A package as its database records it; a text that the database does not have is empty.

    Attributes:
        type: of package, as in package URLs.
        name: its name.
        version: the whole version, with epoch and revision where the kind has them.
        database: the path of the file that says so; for a Go module, the program that contains it.
        architecture: as the kind of package names it.
        source: the name of the package that it was built from.
        source_version: the version of that.
        licenses: what the package says of its licences, sorted.
        files: the regular files and symlinks of the rootfs that belong to it, sorted.
        label: the name that is unique in its database: `name:architecture` with dpkg, if several
            architectures can be installed together; else the name.
        part_of: the label of the system package that brought it, and that its distribution
            maintains.
    """

    type: PackageType
    name: str
    version: str
    database: str
    architecture: str = ""
    source: str = ""
    source_version: str = ""
    licenses: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    label: str = ""
    part_of: str = ""

    def to_value(self) -> dict[str, object]:
        """Return the package as plain JSON values, without its files."""
        optional = {
            "architecture": self.architecture,
            "source": self.source,
            "source-version": self.source_version,
            "part-of": self.part_of,
        }
        return {
            "type": self.type,
            "name": self.name,
            "version": self.version,
            **{key: value for key, value in optional.items() if value},
            "licenses": list(self.licenses),
            "database": self.database,
        }


class UnreadDatabase(NamedTuple):
    """A package database, or a part of one, that could not be read, and why."""

    type: PackageType
    why: str


Found = InstalledPackage | UnreadDatabase


def or_note(type_: PackageType, path: str, packages: Iterable[InstalledPackage]) -> Iterator[Found]:
    """Pass packages on; if their database is wrong, say so instead of failing.

    Everything else can still be told.

    An image that is damaged still raises an error: nothing that is read from it can be told.
    """
    try:
        yield from packages
    except (FormatError, InputError, LimitError, TableError) as error:
        yield unread(type_, path, error)


def unread(type_: PackageType, path: str, error: OtabuildError) -> UnreadDatabase:
    """Return the note about a database that is wrong."""
    return UnreadDatabase(type_, f"the packages in {path} cannot be read: {error}")
