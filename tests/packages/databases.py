"""Package databases made by hand, and inventories of small trees that have them."""

from __future__ import annotations

import os
import sqlite3
import struct
from pathlib import Path

from otabuild.image.image import open_image
from otabuild.packages.survey import Inventory, read_inventory
from tests.image.products import Tree, build

STATUS = """\
Package: adduser
Status: install ok installed
Architecture: all
Version: 3.134
Description: add users
 Package: not a field

Package: libc6
Status: install ok installed
Multi-Arch: same
Architecture: amd64
Version: {libc}

Package: gone
Status: deinstall ok config-files
Version: 1

Package: waiting
Status: install ok triggers-pending
Version: 2
"""


def _release(kernel: str, bsp: str, old: str) -> Tree:
    return {
        f"usr/lib/modules/{kernel}/modules.dep": b"",
        "etc/nv_tegra_release": f"# R{bsp} (release), REVISION: 4.1, GCID\n".encode(),
        "opt/lib/old-1.dist-info/METADATA": f"Name: old\nVersion: {old}\nLicense: MIT\n".encode(),
    }


_ADDED: Tree = {"opt/lib/new-1.dist-info/METADATA": b"Name: new\nVersion: 1\nLicense: GPL-3.0\n", "opt/surprise": b"x"}
RELEASES = (_release("5.10.1", "35", "2.0"), _release("5.15.2", "36", "1.0") | _ADDED)
"""Two releases with everything between them that a reviewer must not miss."""


def rpm_header(name: str, version: str, release: str, epoch: int | None = None) -> bytes:
    data, index = b"", []
    for tag, text in ((1000, name), (1001, version), (1002, release)):
        index.append(struct.pack(">4I", tag, 6, len(data), 1))
        data += text.encode() + b"\0"
    if epoch is not None:
        data += b"\0" * (-len(data) % 4)
        index.append(struct.pack(">4I", 1003, 4, len(data), 1))
        data += struct.pack(">I", epoch)
    return struct.pack(">2I", len(index), len(data)) + b"".join(index) + data


def rpm_database(path: Path, *headers: bytes) -> bytes:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
    connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(header,) for header in headers])
    connection.commit()
    connection.close()
    return path.read_bytes()


def inventory_of(folder: Path, tree: Tree) -> Inventory:
    """Build an image of a tree, and read what is installed in it."""
    folder.mkdir(exist_ok=True)
    with open_image(build(folder, tree)) as image:
        return read_inventory(image.payload("main"))


def tree_of(root: Path) -> Tree:
    """Return the files and links below a folder as a tree."""
    tree: Tree = {}
    for folder, folders, files in os.walk(root):
        for name in [*files, *folders]:
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if path.is_symlink():
                tree[relative] = str(path.readlink())
            elif path.is_file():
                tree[relative] = (path.read_bytes(), path.stat().st_mode & 0o777)
    return tree


def named(inventory: Inventory, type_: str) -> list[tuple[str, str]]:
    """Return names and versions of the packages of a type."""
    return [(package.name, package.version) for package in inventory.packages if package.type == type_]
