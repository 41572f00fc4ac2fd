"""Packages of dpkg: Debian, Ubuntu and their relatives."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from otabuild.format import limits
from otabuild.packages.installed import Found, InstalledPackage, or_note
from otabuild.packages.payload_tree import Tree
from otabuild.packages.stanzas import DATABASE, Fields, blocks

_ROOT = "/var/lib/dpkg"
_COPYRIGHTS = 256 * limits.MIB
_FIELDS = Fields(("Package", "Status", "Version", "Architecture", "Source", "Multi-Arch"))
_SOURCE = re.compile(r"(?P<name>[^ (]+)(?: *\((?P<version>[^)]+)\))?")
_MACHINE_READABLE = re.compile(rb"\s*Format(-Specification)?:", re.IGNORECASE)
_LICENSE = re.compile(rb"^License:[ \t]*(\S.*)$", re.IGNORECASE | re.MULTILINE)


def read_dpkg(tree: Tree) -> Iterator[Found]:
    """Yield the packages of dpkg: of its status file, and of status.d (images without dpkg)."""
    yield from or_note("deb", f"{_ROOT}/status", _of_status(tree, f"{_ROOT}/status"))
    for entry in tree.inside(f"{_ROOT}/status.d"):
        if not entry.path.endswith(".md5sums"):
            yield from or_note("deb", entry.path, _of_status_d(tree, entry.path))


def dpkg_packages(raw: bytes, database: str) -> Iterator[InstalledPackage]:
    """Yield the installed packages of a status file (or of status.d), without their files.

    Raises:
        LimitError, TableError: it is not such a file.
    """
    for fields in map(_FIELDS.of, blocks(raw)):
        # Removed packages stay in the file, with one of two states; status.d has no states.
        state = fields.get("status", "installed").split()
        if "package" in fields and state[-1:] not in (["not-installed"], ["config-files"]):
            yield _package(fields, database)


def _package(fields: Mapping[str, str], database: str) -> InstalledPackage:
    name, version, architecture = (
        fields.get(key, "") for key in ("package", "version", "architecture")
    )
    source = _SOURCE.match(fields.get("source", ""))
    return InstalledPackage(
        "deb",
        name,
        version,
        database,
        architecture,
        source["name"] if source else name,
        (source and source["version"]) or version,
        label=f"{name}:{architecture}" if fields.get("multi-arch") == "same" else name,
    )


def _of_status(tree: Tree, path: str) -> Iterator[InstalledPackage]:
    entry = tree.file(path)
    if entry is None:
        return
    with tree.open(entry, DATABASE) as file:
        packages = list(dpkg_packages(file.read(), entry.path))
    lists = tree.read(tree.inside(f"{_ROOT}/info", ".list"), bytes)
    listed = {posixpath.basename(name).removesuffix(".list"): raw for name, raw in lists.items()}
    diverted = _diversions(tree)
    licenses = _licenses(tree, (package.name for package in packages))
    for package in packages:
        paths = listed_paths(listed.get(package.label, b""))
        moved = (_moved(path, package.name, diverted) for path in paths)
        yield replace(package, files=tree.owned(moved), licenses=licenses.get(package.name, ()))


def _of_status_d(tree: Tree, path: str) -> Iterator[InstalledPackage]:
    """Yield the package of a file of status.d.

    Its files are those beside which its checksums are.
    """
    contents = tree.read(filter(None, map(tree.file, (path, f"{path}.md5sums"))), bytes)
    sums = contents.get(f"{path}.md5sums", b"").decode("utf-8", "replace").split("\n")
    paths = [f"/{line.partition('  ')[2]}" for line in sums]
    for package in dpkg_packages(contents.get(path, b""), path):
        licenses = _licenses(tree, [package.name])
        yield replace(package, files=tree.owned(paths), licenses=licenses.get(package.name, ()))


def listed_paths(raw: bytes) -> Iterable[str]:
    """Return the paths of a list of files: one in each line, before a tab if there is one."""
    return (line.partition("\t")[0] for line in raw.decode("utf-8", "replace").split("\n"))


def _diversions(tree: Tree) -> dict[str, tuple[str, str]]:
    """Return where files of other packages are instead, and whose doing it is, by listed path."""
    lines = tree.content(f"{_ROOT}/diversions").decode("utf-8", "replace").split("\n")
    return {lines[at]: (lines[at + 1], lines[at + 2]) for at in range(0, len(lines) - 2, 3)}


def _moved(path: str, package: str, diverted: Mapping[str, tuple[str, str]]) -> str:
    place, mover = diverted.get(path, (path, package))
    return path if mover == package else place


def _licenses(tree: Tree, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the licences of packages by name, where the copyright file is machine-readable."""
    found = {
        name: tree.files.get(tree.follow(f"/usr/share/doc/{name}/copyright") or "")
        for name in names
    }
    read = tree.read(
        {entry.path: entry for entry in found.values() if entry}.values(), _short_names, _COPYRIGHTS
    )
    return {name: read.get(entry.path, ()) for name, entry in found.items() if entry}


def _short_names(raw: bytes) -> tuple[str, ...]:
    """Return the short names of the licences in a machine-readable copyright file (DEP 5)."""
    names = _LICENSE.findall(raw) if _MACHINE_READABLE.match(raw) else ()
    return tuple(sorted({name.decode("utf-8", "replace").strip() for name in names}))
