"""Go modules, from the build information that the linker leaves in every program since Go 1.18."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO, NamedTuple

from otabuild.errors import FormatError
from otabuild.format import limits
from otabuild.packages.installed import Found, InstalledPackage, UnreadDatabase, or_note
from otabuild.packages.payload_tree import Tree

_SMALLEST = 256 * limits.KIB
"""No program of Go is smaller, in bytes."""
_LARGEST, _TOGETHER = 256 * limits.MIB, limits.GIB
_SECTION = 16 * limits.MIB
_MAGIC, _INLINE = b"\xff Go buildinf:", 2
_SENTINEL = 16
"""Bytes at either end of the list of modules by which Go finds it; they are no text."""


def read_go(tree: Tree, owned: set[str]) -> Iterator[Found]:
    """Yield the modules of programs.

    Those of system packages (`owned`) are maintained, and not looked into.
    """
    total = 0
    for path, entry in tree.files.items():
        if entry.size < _SMALLEST or not entry.mode & 0o111 or path in owned:
            continue
        total += entry.size
        if total > _TOGETHER:
            yield UnreadDatabase(
                "golang", f"programs after {path} were not searched for Go modules: too many bytes"
            )
            return
        yield from or_note("golang", path, _modules_of(tree, path))


def _modules_of(tree: Tree, path: str) -> Iterator[InstalledPackage]:
    with tree.open(tree.files[path], _LARGEST) as file:
        section = go_section(file)
    for number, (name, version) in enumerate(go_modules(section) if section else ()):
        # The program is one file, and belongs to its main module.
        files = (path,) if number == 0 else ()
        yield InstalledPackage("golang", name, version, path, files=files, label=name)


class _Layout(NamedTuple):
    """Where an ELF file of 32 or 64 bits has its sections, and the form of a section."""

    place: int
    place_form: str
    shape: int
    section: str


_LAYOUTS = {1: _Layout(0x20, "I", 0x2E, "IIIIII"), 2: _Layout(0x28, "Q", 0x3A, "IIQQQQ")}


def go_section(file: IO[bytes]) -> bytes | None:
    """Return the section with the build information of an ELF program; None if it has none.

    Raises:
        FormatError: the section is too large.
    """
    head = file.read(64)
    layout = _LAYOUTS.get(head[4]) if head.startswith(b"\x7fELF") and len(head) == 64 else None
    if layout is None:
        return None
    order = ">" if head[5] == 2 else "<"
    (start,) = struct.unpack_from(order + layout.place_form, head, layout.place)
    size, count, names_at = struct.unpack_from(f"{order}3H", head, layout.shape)
    form = struct.Struct(order + layout.section)
    if not form.size <= size <= 2 * form.size:
        return None
    raw = _slice(file, start, size * count)
    sections = [form.unpack_from(raw, at) for at in range(0, len(raw) - size + 1, size)]
    if len(sections) <= names_at:
        return None
    names = _slice(file, *sections[names_at][-2:])
    for section in sections:
        if names.startswith(b".go.buildinfo\0", section[0]):
            return _slice(file, *section[-2:])
    return None


def _slice(file: IO[bytes], start: int, size: int) -> bytes:
    if size > _SECTION or start > _LARGEST:
        raise FormatError(
            "a section of the program is too large", observed=f"{size} bytes from {start} on"
        )
    file.seek(start)
    return file.read(size)


def go_modules(section: bytes) -> Iterator[tuple[str, str]]:
    """Yield name and version of a program's main module, of each module in it, and of Go itself.

    Raises:
        FormatError: not build information, or that of a Go before 1.18.
    """
    if len(section) < 32 or not section.startswith(_MAGIC):
        raise FormatError("not the build information of Go")
    if not section[15] & _INLINE:
        raise FormatError(
            "build information of a Go before 1.18", hint="build the program with a newer Go"
        )
    version, at = _text(section, 32)
    info, _ = _text(section, at)
    yield from _listed(info[_SENTINEL:-_SENTINEL].decode("utf-8", "replace"))
    yield "stdlib", version.decode("utf-8", "replace").removeprefix("go").split(" ")[0]


def _listed(info: str) -> Iterator[tuple[str, str]]:
    """Yield the modules of build information; a line `=>` replaces that of the line before."""
    modules: list[tuple[str, str]] = []
    for line in info.split("\n"):
        kind, *fields = line.split("\t")
        if kind in ("mod", "dep") and len(fields) >= 2:
            modules.append((fields[0], fields[1]))
        elif kind == "=>" and len(fields) >= 2 and modules:
            modules[-1] = (fields[0], fields[1])
    return iter(modules)


def _text(section: bytes, at: int) -> tuple[bytes, int]:
    """Return a text and where it ends: its length as a varint, then its bytes."""
    length = shift = 0
    while at < len(section) and shift < 64:
        byte = section[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if at + length > len(section):
        raise FormatError("build information of Go that ends within a text")
    return section[at : at + length], at + length
