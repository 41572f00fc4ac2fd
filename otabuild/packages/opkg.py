"""Packages of opkg: Yocto and OpenWrt. The form is that of dpkg, the fields are fewer."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from itertools import chain

from otabuild.packages.dpkg import listed_paths
from otabuild.packages.installed import Found, InstalledPackage, or_note
from otabuild.packages.payload_tree import Tree
from otabuild.packages.stanzas import DATABASE, Fields, blocks

_ROOTS = ("/var/lib/opkg", "/usr/lib/opkg")
_FIELDS = Fields(("Package", "Status", "Version", "Architecture"))
_CONTROL = Fields(("License", "OE"))


def read_opkg(tree: Tree) -> Iterator[Found]:
    """Yield the packages of opkg; licence and recipe are in a control file for each."""
    # Each database once, though one folder may be a link to the other.
    places = {tree.follow(root): root for root in _ROOTS}
    for root in places.values():
        yield from or_note("opkg", f"{root}/status", _of_status(tree, root))


def _of_status(tree: Tree, root: str) -> Iterator[InstalledPackage]:
    entry = tree.file(f"{root}/status")
    if entry is None:
        return
    with tree.open(entry, DATABASE) as file:
        stanzas = [_FIELDS.of(stanza) for stanza in blocks(file.read())]
    info = f"{root}/info"
    beside = tree.read(chain(tree.inside(info, ".list"), tree.inside(info, ".control")), bytes)
    known = {posixpath.basename(path): raw for path, raw in beside.items()}
    for fields in stanzas:
        name = fields.get("package", "")
        if name and fields.get("status", "installed").split()[-1:] == ["installed"]:
            control = _CONTROL.of(known.get(f"{name}.control", b""))
            yield InstalledPackage(
                "opkg",
                name,
                fields.get("version", ""),
                entry.path,
                fields.get("architecture", ""),
                control.get("oe", ""),
                licenses=tuple(filter(None, [control.get("license", "")])),
                files=tree.owned(listed_paths(known.get(f"{name}.list", b""))),
                label=name,
            )
