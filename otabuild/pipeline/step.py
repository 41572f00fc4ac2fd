"""A step: its declared inputs, its outputs, and the stamp that decides whether it must run."""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast, get_args, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError

from otabuild.errors import InputError, StorageError
from otabuild.format.json_text import load_json
from otabuild.pipeline.retry import retry
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.diagnose import Key
from otabuild.recipe.model import Recipe
from otabuild.recipe.named_files import naming_key
from otabuild.storage import files, fs
from otabuild.storage.directory_writer import is_image_directory, remove_directory
from otabuild.version import __version__

NOT_BUILT = "not built yet"

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")


class KeyPart(NamedTuple):
    """Marks a field of the inputs of a step as a part of its key; the user reads "changed: NAME".

    A name with `{}` is for a mapping: each of its items is a part. A field without this mark must
    not decide anything that a marked one does not: it says where outputs go, or how messages name
    things.
    """

    name: str


@dataclass(frozen=True)
class Nothing:
    """The results of a step that no later step depends on."""


class Outcome(NamedTuple, Generic[R]):
    """The outcome of a step that has finished.

    `results` go to later steps, `counts` into the build report (numbers and lists of notes).
    `again` is why the step must run again next time although nothing seems to have changed; `until`
    is the Unix time from which it must.
    """

    results: R
    counts: Mapping[str, Any] = {}
    again: str = ""
    until: int | None = None


class Decision(NamedTuple, Generic[I]):
    """Why a step must run (empty: its output is valid), its inputs, and their digests."""

    reasons: tuple[str, ...]
    inputs: I
    key: Mapping[str, str]


@dataclass(frozen=True)
class Step(ABC, Generic[I, R]):
    """A step of a recipe in a workspace; subclasses say its inputs, its outputs, and how it works.

    Attributes:
        recipe: the recipe. Only `inputs` and the properties look at it, never `run`.
        workspace: the surroundings, which affect no byte.
        part: the rootfs of the step, if it has one for each.
        kind: the first part of its name.
        follows: the kind of the one step that comes before it; others have their own `after`.
        results_type: the dataclass of its results; in the stamp they are JSON.
        asks: whether it may ask for a secret on the terminal, by itself or by a program: nothing
            may be drawn there then.
    """

    recipe: Recipe
    workspace: Workspace
    part: str = ""

    kind: ClassVar[str]
    follows: ClassVar[str] = ""
    results_type: ClassVar[type[Any]] = Nothing
    asks: ClassVar[bool] = False

    def naming_key(self, *keys: Key) -> AbstractContextManager[None]:
        """Name the recipe's line in errors about what it names: all that `run` may see of it."""
        return naming_key(self.recipe, *keys)

    @property
    @abstractmethod
    def doc(self) -> str:
        """One line of help."""

    @property
    def after(self) -> tuple[str, ...]:
        """The names of the steps that come before it."""
        return (f"{self.follows}:{self.recipe.name}",) if self.follows else ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """The files and image directories that it writes and that must not change afterwards."""
        return ()

    @property
    def targets(self) -> tuple[str, ...]:
        """The outputs that a user may request by name."""
        return ()

    @property
    def clean(self) -> tuple[str, ...]:
        """What `doit clean` removes in addition to stamp and outputs: files beside them."""
        return ()

    @property
    def sources(self) -> tuple[Step[Any, Any], ...]:
        """The steps that run again if this one finds what they wrote to be damaged."""
        return ()

    def naming(self) -> AbstractContextManager[None]:
        """Return a context in which errors name the place in the recipe."""
        return nullcontext()

    @abstractmethod
    def inputs(self) -> I:
        """Return everything that the step depends on, as a frozen dataclass.

        See `KeyPart`. May look at files.

        Raises:
            OtabuildError: an input cannot be examined, or an earlier step has not run yet.
        """

    @abstractmethod
    def run(self, inputs: I) -> Outcome[R]:
        """Do the work; may be called again after damaged data was dropped."""

    def describe(self, results: R) -> str:
        """Return, in one line, what a user wants to read when the step has run.

        Most steps say it in their reasons.
        """
        del results
        return ""

    @property
    def name(self) -> str:
        """The name, such as `scan:vehicle/main`."""
        return f"{self.kind}:{self.recipe.name}" + (f"/{self.part}" if self.part else "")

    def show_start(self) -> None:
        """Show that the step is being looked at or run; show nothing if it may ask something."""
        self.workspace.progress("" if self.asks else self.name, 0, 0)

    @property
    def stamp(self) -> str:
        """Path of the stamp."""
        return self.path(f"{self.kind}.{self.part}.stamp" if self.part else f"{self.kind}.stamp")

    def path(self, name: str) -> str:
        """Return the path of an intermediate file of the recipe."""
        return os.path.join(self.workspace.folder(self.recipe.name), name)

    def rootfs_path(self, rootfs: str, kind: str) -> str:
        """Return the path of an intermediate file of a rootfs.

        It is in a folder of its own because a rootfs may have any name.
        """
        return self.path(os.path.join("rootfs", f"{rootfs}.{kind}"))

    def decide(self) -> Decision[I]:
        """Decide whether and why the step must run.

        Raises:
            OtabuildError: an input cannot be examined.
        """
        with self.naming():
            inputs = self.inputs()
        key = _key(inputs)
        return Decision(tuple(self._reasons(self._read(), key)), inputs, key)

    @property
    def was_built(self) -> bool:
        """Whether the step has ever finished, and its output still exists."""
        return self._read() is not None

    def _reasons(self, stamp: Mapping[str, Any] | None, key: Mapping[str, str]) -> Iterator[str]:
        if stamp is None:
            yield NOT_BUILT
            return
        then = stamp["key"]
        yield from (
            f"changed: {name}"
            for name in sorted(then.keys() | key.keys())
            if then.get(name) != key.get(name)
        )
        for path in self.outputs:
            now = self._state(path)
            if now is None:
                yield f"{path} is missing"
            elif stamp["outputs"].get(path) != now:
                yield f"{path} was changed by something else"
        if stamp.get("again"):
            yield str(stamp["again"])
        if stamp.get("until") is not None and self.workspace.now >= stamp["until"]:
            yield "since then a certificate or revocation list has expired or become valid"

    def execute(self, decision: Decision[I] | None = None) -> Outcome[R]:
        """Run the step; its stamp is written only when everything is in place.

        Args:
            decision: what `decide` has just found; by default it is found again.

        Raises:
            OtabuildError: the step failed; its earlier output no longer counts as valid.
        """
        found = decision or self.decide()  # before the work: later changes are seen next time

        def run_sources() -> None:
            nonlocal found
            for step in self.sources:
                step.execute()
            found = self.decide()

        self.workspace.prepare(self.recipe.name)
        # First, so that the step runs again after a kill at any point of its work.
        fs.unlink(self.stamp, missing_ok=True)
        with self.naming():
            outcome = retry(self.workspace, lambda: self.run(found.inputs), run_sources)
        stamp = {
            "step": self.name,
            "key": found.key,
            "results": self._results_json.dump_python(outcome.results, mode="json"),
            "outputs": {path: self._state(path) for path in self.outputs},
            "counts": outcome.counts,
            "again": outcome.again,
            "until": outcome.until,
        }
        files.write_file(
            self.stamp, json.dumps({**stamp, "seal": self._seal(stamp)}, indent=1).encode()
        )
        return outcome

    def results(self) -> R:
        """Return the results of the last run of the step.

        Raises:
            InputError: it has not run yet.
        """
        stamp = self._read()
        try:
            if stamp is not None:
                found: R = self._results_json.validate_python(stamp["results"])
                return found
        except ValidationError:  # of another version
            pass
        raise InputError(
            "an earlier step has not run yet",
            where=self.name,
            hint=f"run it first: doit {self.name}",
        )

    def remove(self, *, dry_run: bool = False) -> list[str]:
        """Remove the output of the step, or with `dry_run` only list it; return the paths.

        The stamp is removed last: without it, the other outputs are unknown.
        """
        stamp = self._read()
        made = stamp["outputs"] if stamp else {}
        removable = (*self.outputs, *self.clean, self.stamp)
        found = [path for path in removable if os.path.lexists(path) and self._is_ours(path, made)]
        for path in () if dry_run else found:
            if os.path.isdir(path):
                remove_directory(path)
            else:
                fs.unlink(path)
        return found

    def _is_ours(self, path: str, made: Mapping[str, Any]) -> bool:
        """Whether this step made the existing file or folder, and not somebody else."""
        if os.path.isdir(path):
            return isinstance(made.get(path), str) and is_image_directory(path)
        if os.path.dirname(path) == os.path.dirname(self.stamp):
            return True  # nothing else writes to that folder
        return bool(made) if path not in self.outputs else isinstance(made.get(path), list)

    def _state(self, path: str) -> list[int | str] | str | None:
        """Return what shows that a file, or a directory with its content, is unchanged.

        It is None if it does not exist.

        Files beside the stamp are hashed, too: later steps trust them, and damage on the disk
        leaves all times alone.
        """
        try:
            if os.path.isdir(path):
                return files.tree_state(path)
            beside = path.startswith(os.path.join(os.path.dirname(self.stamp), ""))
            return [
                *files.file_state(path),
                *([files.hash_file(path)] if beside and os.path.isfile(path) else []),
            ]
        except StorageError:
            return None

    @property
    def _results_json(self) -> TypeAdapter[Any]:
        return _adapter(cast("Hashable", self.results_type))

    def _read(self) -> Mapping[str, Any] | None:
        try:
            stamp = load_json(files.read_file(self.stamp))
        except (StorageError, ValueError):
            return None
        parts = ("key", "results", "outputs")
        whole = isinstance(stamp, dict) and all(isinstance(stamp.get(part), dict) for part in parts)
        return stamp if whole and stamp.pop("seal", None) == self._seal(stamp) else None

    def _seal(self, stamp: Mapping[str, Any]) -> str:
        text = json.dumps(stamp, sort_keys=True, default=_plain)
        return self.workspace.seal.of("stamp", self.name, text).hex()


@cache
def _adapter(results_type: Any) -> TypeAdapter[Any]:
    return TypeAdapter(results_type)


@cache
def _key_parts(inputs_type: Any) -> dict[str, str]:
    """Return the names of the marked fields of a dataclass by what the user reads."""
    hints = get_type_hints(inputs_type, include_extras=True).items()
    return {
        mark.name: name
        for name, hint in hints
        for mark in get_args(hint)
        if isinstance(mark, KeyPart)
    }


def _key(inputs: Any) -> dict[str, str]:
    """Return the digest of each part of the key."""
    parts: dict[str, object] = {"version of otabuild": __version__}
    for name, attribute in _key_parts(cast("Hashable", type(inputs))).items():
        value = getattr(inputs, attribute)
        if "{}" in name:
            parts |= {name.format(key): item for key, item in value.items()}
        else:
            parts[name] = value
    return {name: _sha256(value) for name, value in parts.items()}


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else repr(value)
