"""Packages of Alpine Linux (apk)."""

from __future__ import annotations

from collections.abc import Iterator

from otabuild.packages.installed import Found, InstalledPackage, or_note
from otabuild.packages.payload_tree import Tree
from otabuild.packages.stanzas import DATABASE, blocks

_DATABASES = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")


def read_apk(tree: Tree) -> Iterator[Found]:
    """Yield the packages of apk.

    Newer releases keep the database below /usr, and /lib may be a link.
    """
    places = {tree.follow(path): path for path in _DATABASES}
    for path in places.values():
        yield from or_note("apk", path, _of_database(tree, path))


def _of_database(tree: Tree, path: str) -> Iterator[InstalledPackage]:
    entry = tree.file(path)
    if entry is None:
        return
    with tree.open(entry, DATABASE) as file:
        raw = file.read()
    for stanza in blocks(raw):
        fields, paths = apk_stanza(stanza)
        if "P" in fields:
            name, license_ = fields["P"], fields.get("L", "")
            yield InstalledPackage(
                "apk",
                name,
                fields.get("V", ""),
                entry.path,
                fields.get("A", ""),
                fields.get("o", name),
                fields.get("V", ""),
                (license_,) if license_ else (),
                tree.owned(paths),
                name,
            )


def apk_stanza(stanza: bytes) -> tuple[dict[str, str], list[str]]:
    """Return fields of a stanza by letter, and paths of its files: each `R` is in the last `F`."""
    fields: dict[str, str] = {}
    paths: list[str] = []
    folder = ""
    for line in stanza.decode("utf-8", "replace").split("\n"):
        letter, _, value = line.partition(":")
        if letter == "F":
            folder = f"/{value}" if value else ""
        elif letter == "R":
            paths.append(f"{folder}/{value}")
        else:
            fields[letter] = value
    return fields, paths
