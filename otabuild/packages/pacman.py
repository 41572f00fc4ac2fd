"""Packages of Arch Linux (pacman): a folder for each, with files of titled sections."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from otabuild.packages.installed import Found, InstalledPackage, or_note
from otabuild.packages.payload_tree import Tree

_ROOT = "/var/lib/pacman/local"


def read_pacman(tree: Tree) -> Iterator[Found]:
    """Yield the packages of pacman."""
    yield from or_note("alpm", _ROOT, _of_folders(tree))


def _of_folders(tree: Tree) -> Iterator[InstalledPackage]:
    entries = [
        e for e in tree.inside(_ROOT, deep=True) if posixpath.basename(e.path) in ("desc", "files")
    ]
    contents = tree.read(entries, pacman_sections)
    for path, desc in contents.items():
        name, version = (next(iter(desc.get(title, ())), "") for title in ("NAME", "VERSION"))
        if posixpath.basename(path) == "desc" and name:
            files = contents.get(f"{posixpath.dirname(path)}/files", {}).get("FILES", [])
            yield InstalledPackage(
                "alpm",
                name,
                version,
                path,
                next(iter(desc.get("ARCH", ())), ""),
                next(iter(desc.get("BASE", ())), name),
                version,
                tuple(sorted(desc.get("LICENSE", ()))),
                tree.owned(f"/{file}" for file in files),
                name,
            )


def pacman_sections(raw: bytes) -> dict[str, list[str]]:
    """Return the lines of each section by its title, which is between percent signs."""
    sections: dict[str, list[str]] = {}
    for block in raw.decode("utf-8", "replace").split("\n\n"):
        title, *lines = block.strip("\n").split("\n")
        sections[title.strip("%")] = [line for line in lines if line]
    return sections
