"""A step: its dependencies, its outputs, and the stamp that decides whether it must run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from otabuild.errors import InputError, StorageError
from otabuild.storage import files, fs
from otabuild.storage.directory_writer import is_image_directory, remove_directory
from otabuild.version import __version__

Results = dict[str, Any]
"""Results of a step for later steps, as JSON; part of their keys."""
Key = dict[str, Any]
"""Everything that a step depends on, as JSON, with names that a user understands."""


NOT_BUILT = "not built yet"


class Outcome(NamedTuple):
    """The outcome of a step that has finished.

    `results` go to later steps, `counts` into the build report (numbers and lists of notes). `again` is why the step
    must run again next time although nothing seems to have changed; `until` is the Unix time from which it must.
    """

    results: Results
    counts: dict[str, Any]
    again: str = ""
    until: int | None = None


class Decision(NamedTuple):
    """Why a step must run (empty: its output is still valid), and the digests of its key."""

    reasons: tuple[str, ...]
    key: Mapping[str, str]


@dataclass(frozen=True)
class Step:
    """One step of a recipe.

    Attributes:
        name: the name, such as `scan:vehicle/main`.
        doc: one line of help.
        stamp: path of its stamp.
        after: the names of the steps that come before it.
        key: returns everything it depends on; may look at inputs.
        outputs: the files and image directories that it writes and that must not change afterwards.
        run: does the work.
        targets: the outputs that a user may request by name.
        clean: what `doit clean` removes in addition to the stamp: outputs, and files beside them.
        now: Unix seconds when the run began.
    """

    name: str
    doc: str
    stamp: str
    after: tuple[str, ...]
    key: Callable[[], Key]
    outputs: tuple[str, ...]
    run: Callable[[], Outcome]
    clean: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    now: int = 0

    def decide(self) -> Decision:
        """Decide whether and why the step must run.

        Raises:
            OtabuildError: an input cannot be examined.
        """
        key = self._key_digests()
        return Decision(tuple(self._reasons(_read(self.stamp), key)), key)

    @property
    def was_built(self) -> bool:
        """Whether the step has ever finished, and its output still exists."""
        return _read(self.stamp) is not None

    def _reasons(self, stamp: Mapping[str, Any] | None, key: Mapping[str, str]) -> Iterator[str]:
        if stamp is None:
            yield NOT_BUILT
            return
        then = stamp["key"]
        yield from (f"changed: {name}" for name in sorted(then.keys() | key.keys()) if then.get(name) != key.get(name))
        for path in self.outputs:
            now = self._state(path)
            if now is None:
                yield f"{path} is missing"
            elif stamp["outputs"].get(path) != now:
                yield f"{path} was changed by something else"
        if stamp.get("again"):
            yield str(stamp["again"])
        if stamp.get("until") is not None and self.now >= stamp["until"]:
            yield "since then a certificate or revocation list has expired or become valid"

    def execute(self, key: Mapping[str, str] | None = None) -> Outcome:
        """Run the step; its stamp is written only when everything is in place.

        Args:
            key: the key that `decide` has just found; by default it is determined again.

        Raises:
            OtabuildError: the step failed; its earlier output no longer counts as valid.
        """
        key = self._key_digests() if key is None else key  # before the work: later changes are seen next time
        fs.unlink(self.stamp, missing_ok=True)
        outcome = self.run()
        stamp = {
            "step": self.name,
            "key": key,
            "results": outcome.results,
            "outputs": {path: self._state(path) for path in self.outputs},
            "counts": outcome.counts,
            "again": outcome.again,
            "until": outcome.until,
        }
        files.write_file(self.stamp, json.dumps({**stamp, "sha256": _sha256(stamp)}, indent=1).encode())
        return outcome

    def results(self) -> Results:
        """Return the results of the last run of the step.

        Raises:
            InputError: it has not run yet.
        """
        return read_results(self.stamp, self.name)

    def remove(self, *, dry_run: bool = False) -> list[str]:
        """Remove the output of the step, or with `dry_run` only list it; return the paths.

        The stamp is removed last: without it, the other outputs are unknown.
        """
        stamp = _read(self.stamp)
        made = stamp["outputs"] if stamp else {}
        found = [path for path in (*self.clean, self.stamp) if os.path.lexists(path) and self._is_ours(path, made)]
        for path in () if dry_run else found:
            if os.path.isdir(path):
                remove_directory(path)
            else:
                fs.unlink(path)
        return found

    def _is_ours(self, path: str, made: Mapping[str, Any]) -> bool:
        """Whether this step made the existing file or folder, and not somebody else under the name of an output."""
        if os.path.isdir(path):
            return isinstance(made.get(path), str) and is_image_directory(path)
        if os.path.dirname(path) == os.path.dirname(self.stamp):
            return True  # nothing else writes to that folder
        return bool(made) if path not in self.outputs else isinstance(made.get(path), list)

    def _state(self, path: str) -> list[int | str] | str | None:
        """Return what shows that a file, or a directory with its content, is unchanged; None if it does not exist.

        Files beside the stamp are hashed, too: later steps trust them, and damage on the disk leaves all times alone.
        """
        try:
            if os.path.isdir(path):
                return files.tree_state(path)
            beside = path.startswith(os.path.join(os.path.dirname(self.stamp), ""))
            return [*files.file_state(path), *([files.hash_file(path)] if beside and os.path.isfile(path) else [])]
        except StorageError:
            return None

    def _key_digests(self) -> dict[str, str]:
        return _digests({"version of otabuild": __version__, **self.key()})


def read_results(stamp: str, name: str) -> Results:
    """Return the results of an earlier step.

    Raises:
        InputError: it has not run yet.
    """
    found = _read(stamp)
    if found is None:
        raise InputError("an earlier step has not run yet", where=name, hint=f"run it first: doit {name}")
    results: Results = found["results"]
    return results


def _read(path: str) -> Mapping[str, Any] | None:
    try:
        stamp = json.loads(files.read_file(path))
    except (StorageError, ValueError):
        return None
    whole = isinstance(stamp, dict) and all(isinstance(stamp.get(part), dict) for part in ("key", "results", "outputs"))
    return stamp if whole and stamp.pop("sha256", None) == _sha256(stamp) else None


def _digests(key: Key) -> dict[str, str]:
    return {name: _sha256(value) for name, value in key.items()}


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
