"""Packages of programming languages that lie in the tree: Python distributions and npm packages."""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Iterator

from otabuild.errors import FormatError
from otabuild.format.json_text import load_json
from otabuild.packages.installed import Found, InstalledPackage, or_note
from otabuild.packages.payload_tree import Tree
from otabuild.packages.stanzas import Fields, blocks

_METADATA = Fields(("Name", "Version", "License", "License-Expression"))
_LICENSE = 100
"""Longest text that is a licence's name: some distributions put the whole licence there."""


def read_python(tree: Tree) -> Iterator[Found]:
    """Yield the Python distributions that were installed from wheels (`*.dist-info`)."""
    folders = [
        path.removesuffix("/METADATA")
        for path in tree.files
        if path.endswith(".dist-info/METADATA")
    ]
    names = (f"{folder}/{name}" for folder in folders for name in ("METADATA", "RECORD"))
    contents = tree.read(filter(None, map(tree.files.get, names)), bytes)
    for folder in folders:
        path = f"{folder}/METADATA"
        yield from or_note("pypi", path, _distribution(tree, path, contents))


def _distribution(tree: Tree, path: str, contents: dict[str, bytes]) -> Iterator[InstalledPackage]:
    fields = python_metadata(contents.get(path, b""))
    record = contents.get(path.removesuffix("METADATA") + "RECORD", b"")
    license_ = fields.get("license-expression") or fields.get("license", "")
    yield InstalledPackage(
        "pypi",
        fields["name"],
        fields["version"],
        path,
        licenses=(license_,) if 0 < len(license_) <= _LICENSE and license_ != "UNKNOWN" else (),
        files=tree.owned([path, *_recorded(record, posixpath.dirname(posixpath.dirname(path)))]),
        label=fields["name"],
    )


def python_metadata(raw: bytes) -> dict[str, str]:
    """Return the fields of a METADATA file, which are its first stanza.

    Raises:
        FormatError: it has no name or version.
    """
    fields = _METADATA.of(next(blocks(raw), b""))
    if not (fields.get("name") and fields.get("version")):
        raise FormatError("a Python distribution without a name or version")
    return fields


def _recorded(record: bytes, folder: str) -> Iterator[str]:
    """Yield the paths of a RECORD file; they are relative to the distribution's folder."""
    try:
        for row in csv.reader(record.decode("utf-8", "replace").split("\n")):
            yield from (posixpath.normpath(posixpath.join(folder, path)) for path in row[:1])
    except csv.Error as error:
        raise FormatError("a RECORD that is not CSV", observed=error) from None


def read_npm(tree: Tree) -> Iterator[Found]:
    """Yield the npm packages: what lies directly in a folder `node_modules`, with its files."""
    files: dict[str, list[str]] = {}
    for path in tree.files:
        if folder := npm_folder(path):
            files.setdefault(folder, []).append(path)
    manifests = {f"{folder}/package.json": found for folder, found in files.items()}
    contents = tree.read(filter(None, map(tree.files.get, manifests)), bytes)
    for path, raw in contents.items():
        yield from or_note("npm", path, _npm_package(path, raw, tree.owned(manifests[path])))


def npm_folder(path: str) -> str:
    """Return the folder of the npm package that a file is in; the empty text if it is in none."""
    above, found, below = path.rpartition("/node_modules/")
    if not found:
        return ""
    # A name with a scope, such as @types/node, is two folders deep.
    name = "/".join(below.split("/")[: 2 if below.startswith("@") else 1])
    return f"{above}{found}{name}" if below.startswith(f"{name}/") else ""


def _npm_package(path: str, raw: bytes, files: tuple[str, ...]) -> Iterator[InstalledPackage]:
    value = npm_manifest(raw)
    name, version, license_ = (value.get(key) for key in ("name", "version", "license"))
    if not (isinstance(name, str) and isinstance(version, str)):
        return  # what only groups modules has neither
    license_ = license_.get("type") if isinstance(license_, dict) else license_
    licenses = (license_,) if isinstance(license_, str) and license_ else ()
    yield InstalledPackage("npm", name, version, path, licenses=licenses, files=files, label=name)


def npm_manifest(raw: bytes) -> dict[str, object]:
    """Return the value of a package.json.

    Raises:
        FormatError: it is not a JSON object.
    """
    try:
        value = load_json(raw)
    except ValueError as error:
        raise FormatError("not JSON", observed=error) from None
    if not isinstance(value, dict):
        raise FormatError("not a JSON object")
    return value
