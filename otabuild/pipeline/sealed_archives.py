"""The folder with what was read from archives, as far as this user's builds wrote it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from otabuild.errors import StorageError
from otabuild.format.json_text import load_json
from otabuild.pipeline.workspace import Workspace
from otabuild.storage import files, fs

_LIST = "sealed.json"


@contextmanager
def sealed_archives(workspace: Workspace) -> Iterator[str]:
    """Yield the folder with the indexes of archives.

    Before, remove from it what this user's builds did not write.

    Owners, modes and names of an image follow from the lists of entries, and nothing in an archive
    proves them without reading it again. The contents beside them are not sealed: each is checked
    against its digest in the list. Afterwards everything is sealed, also when the work failed,
    because every file is complete when it appears.
    """
    folder = workspace.archives
    sealed = _read(workspace, os.path.join(folder, _LIST))
    states: dict[str, list[int]] = {}
    for path in _records(folder):
        name = os.path.relpath(path, folder)
        if _hash(path) == sealed.get(name, ""):
            states[name] = files.file_state(path)
        else:
            fs.unlink(path)
    try:
        yield folder
    finally:
        found = {os.path.relpath(path, folder): path for path in _records(folder)}
        now = {
            name: sealed[name] if states.get(name) == files.file_state(path) else _hash(path)
            for name, path in found.items()
        }
        if now != sealed:
            text = json.dumps(now, sort_keys=True)
            record = {"files": now, "seal": workspace.seal.of("archives", text).hex()}
            files.write_file(os.path.join(folder, _LIST), json.dumps(record).encode())


def _records(folder: str) -> Iterator[str]:
    """Yield the files that are believed: lists of entries, and which archive had which digest."""
    for parent, _, names in os.walk(folder):
        yield from (
            os.path.join(parent, name)
            for name in names
            if name.endswith(".entries") or name == "state"
        )


def _hash(path: str) -> str:
    """Return the digest of a file; nothing if it is none, or cannot be read."""
    try:
        return files.hash_file(path) if os.path.isfile(path) and not os.path.islink(path) else ""
    except StorageError:
        return ""


def _read(workspace: Workspace, path: str) -> dict[str, str]:
    """Return the digests of the sealed files by their paths in the folder."""
    try:
        match load_json(files.read_file(path)):
            case {"files": dict() as found, "seal": str() as seal}:
                text = json.dumps(found, sort_keys=True)
                return found if workspace.seal.holds(bytes.fromhex(seal), "archives", text) else {}
    except (StorageError, ValueError):
        pass
    return {}
