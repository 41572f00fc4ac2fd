"""All packages of a payload, and the files that belong to none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain

from otabuild.errors import InputError, LimitError
from otabuild.format.digest import Reading
from otabuild.format.os_release import parse_os_release
from otabuild.image.image import Payload
from otabuild.image.tables import FileEntry
from otabuild.packages.apk import read_apk
from otabuild.packages.dpkg import read_dpkg
from otabuild.packages.go import read_go
from otabuild.packages.installed import (
    SYSTEM_TYPES,
    Found,
    InstalledPackage,
    PackageType,
    UnreadDatabase,
    unread,
)
from otabuild.packages.languages import read_npm, read_python
from otabuild.packages.opkg import read_opkg
from otabuild.packages.pacman import read_pacman
from otabuild.packages.payload_tree import Tree
from otabuild.packages.rpm import read_rpm

Reader = Callable[[Tree], Iterator[Found]]

_SYSTEM: dict[PackageType, Reader] = {
    "deb": read_dpkg,
    "rpm": read_rpm,
    "apk": read_apk,
    "opkg": read_opkg,
    "alpm": read_pacman,
}
_MOST = 20_000
"""The most packages of a kind that a device can have."""
_OF_KERNEL = frozenset({"modules.dep", "modules.order", "modules.builtin"})


@dataclass(frozen=True)
class Inventory:
    """What a payload contains.

    Attributes:
        packages: sorted by type, name, version and database.
        notes: the databases that could not be read, wholly or in part.
        distribution: ID and VERSION_ID of os-release; empty texts if it does not say.
        kernels: the versions of the Linux kernels whose modules are there, sorted.
        tree: the rootfs.
    """

    packages: tuple[InstalledPackage, ...]
    notes: tuple[UnreadDatabase, ...]
    distribution: tuple[str, str]
    kernels: tuple[str, ...]
    tree: Tree

    @property
    def maintained(self) -> tuple[InstalledPackage, ...]:
        """The packages that nobody else maintains: without the parts of system packages."""
        return tuple(package for package in self.packages if not package.part_of)

    @cached_property
    def unpackaged(self) -> tuple[str, ...]:
        """The regular files that belong to no package, in path order."""
        owned = _owned(self.packages)
        return tuple(path for path in self.tree.files if path not in owned)

    def owners(self, path: str) -> tuple[InstalledPackage, ...]:
        """Return the packages that a file or symlink belongs to; links of folders are followed.

        Raises:
            InputError: there is no such file.
        """
        place = self.tree.place(path)
        if place not in self.tree.files and place not in self.tree.links:
            raise InputError("no such file or symlink in the payload", where=path)
        return tuple(package for package in self.packages if place in package.files)


def read_inventory(payload: Payload, entries: Iterable[FileEntry] | None = None) -> Inventory:
    """Read all packages of a payload.

    A database that is wrong is a note, and whatever else can be read is told. Reading takes bounded
    time and memory.

    Args:
        payload: of an open image.
        entries: its entries, in path order, if the caller has read them already.

    Raises:
        IntegrityError, FilterError, TableError: the image is damaged.
        StorageError: no space for a temporary file.
    """
    tree = Tree(payload, payload.entries() if entries is None else entries)
    packages: list[InstalledPackage] = []
    notes: list[UnreadDatabase] = []
    for type_, read in _SYSTEM.items():
        _take(type_, read(tree.rested()), packages, notes)
    languages: dict[PackageType, Reader] = {
        "pypi": read_python,
        "npm": read_npm,
        "golang": partial(read_go, owned=_owned(packages)),
    }
    for type_, read in languages.items():
        _take(type_, read(tree.rested()), packages, notes)
    of_system = [package for package in packages if package.type in SYSTEM_TYPES]
    others = [package for package in packages if package.type not in SYSTEM_TYPES]
    owners = {path: package.label for package in of_system for path in package.files}
    told = [
        *of_system,
        *(replace(package, part_of=owners.get(package.database, "")) for package in others),
    ]
    order = sorted(
        told, key=lambda found: (found.type, found.name, found.version, found.label, found.database)
    )
    return Inventory(tuple(order), tuple(notes), _distribution(tree), _kernels(tree), tree)


def read_inventories(payloads: Iterable[Payload]) -> Iterator[tuple[Payload, Inventory]]:
    """Yield payloads with what they contain.

    Payloads with one rootfs share one inventory. Errors as above.
    """
    known: dict[Reading, Inventory] = {}
    for payload in payloads:
        table = payload.manifest.file_table.reading
        if table not in known:
            known[table] = read_inventory(payload)
        yield payload, known[table]


def _take(
    type_: PackageType,
    found: Iterator[Found],
    packages: list[InstalledPackage],
    notes: list[UnreadDatabase],
) -> None:
    """Sort what a reader finds into packages and notes, at most as many as a device can have."""
    try:
        for number, one in enumerate(found):
            if number == _MOST:
                notes.append(
                    unread(
                        type_, "this rootfs", LimitError("too many", expected=f"at most {_MOST:,}")
                    )
                )
                return
            if isinstance(one, UnreadDatabase):
                notes.append(one)
            else:
                packages.append(one)
    except (InputError, LimitError) as error:
        notes.append(unread(type_, "this rootfs", error))


def _owned(packages: Iterable[InstalledPackage]) -> set[str]:
    return set(chain.from_iterable(package.files for package in packages))


def _distribution(tree: Tree) -> tuple[str, str]:
    named = parse_os_release(tree.content("/etc/os-release"))
    return named.get("ID", "").lower(), named.get("VERSION_ID", "")


def _kernels(tree: Tree) -> tuple[str, ...]:
    """Return the folders of kernel modules that depmod or the build of a kernel has filled."""
    found = set()
    for root in ("/lib/modules", "/usr/lib/modules"):
        depth = len((tree.follow(root) or "").split("/"))
        places = (entry.path.split("/") for entry in tree.inside(root, deep=True))
        found |= {
            parts[depth] for parts in places if len(parts) == depth + 2 and parts[-1] in _OF_KERNEL
        }
    return tuple(sorted(found))
