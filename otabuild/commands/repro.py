"""repro: builds twice from scratch under different conditions, and compares the results."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from otabuild import session
from otabuild.commands.output import Parsers, add_json, emit, say
from otabuild.errors import StateError, StorageError, printable
from otabuild.format.times import EPOCH
from otabuild.storage import fs

if TYPE_CHECKING:
    from otabuild.recipe.model import Recipe
    from otabuild.recipe.sign import Sign

_CONDITIONS = (
    (0o022, {"OTABUILD_JOBS": "1", "TZ": "UTC", "LANG": "C", "LC_ALL": "C", "PYTHONHASHSEED": "1"}),
    (
        0o077,
        {
            "OTABUILD_JOBS": "4",
            "TZ": "Pacific/Kiritimati",
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "PYTHONHASHSEED": "2",
        },
    ),
)
_IMAGE, _WORK = "image.zip", "work"


def add(parsers: Parsers) -> None:
    """Add the command."""
    parsers.group("Build")
    repro = parsers.add_parser(
        "repro", help="build twice from scratch under different conditions, and compare"
    )
    repro.add_argument("recipe", metavar="RECIPE", help="a recipe (YAML)")
    repro.add_argument(
        "--wait",
        action="store_true",
        help="wait while another build is running in the same directory",
    )
    repro.add_argument(
        "--provenance",
        metavar="FILE",
        help="build as this says instead, and compare with what it is about",
    )
    # One of the two builds, in its own process.
    repro.add_argument("--once", metavar="DIR", help=argparse.SUPPRESS)
    add_json(repro)
    repro.set_defaults(run=run_repro)


class Reproduced(NamedTuple):
    """The outcome of two builds.

    Attributes:
        sha256: of both artifacts, as hex.
        signature: false if they were built without one, because the signer makes a different one
            each time.
        difference: the first object in which they differ.
        images: where both are kept if they differ.
    """

    sha256: tuple[str, str]
    signature: bool
    difference: str | None
    images: tuple[str, ...]

    def to_value(self) -> dict[str, object]:
        """Return the result as plain JSON values."""
        return {"reproducible": self.difference is None, **self._asdict()}


def run_repro(args: argparse.Namespace) -> int:
    """Build twice and compare; exit with 1 if anything differs."""
    from otabuild.recipe.load import load_recipe

    recipe = load_recipe(args.recipe)
    if args.once:
        _build_once(recipe, args.once)
        return 0
    if args.provenance:
        return _run_recorded(args, recipe)
    found = reproduce(recipe, wait=args.wait)
    emit(args, found.to_value(), [printable(describe(recipe.name, found))], ok=not found.difference)
    return 1 if found.difference else 0


def _run_recorded(args: argparse.Namespace, recipe: Recipe) -> int:
    """Build at the recorded time, and compare with the recorded digests.

    It exits with 1 if any differs.
    """
    from otabuild.format.dsse import LIMIT, Envelope
    from otabuild.format.statement import Statement
    from otabuild.pipeline.recorded import changed_inputs, differing, recorded_timestamp
    from otabuild.storage.files import read_file

    payload = Envelope.from_json(read_file(args.provenance, LIMIT), args.provenance).payload
    statement = Statement.from_json(payload, args.provenance, LIMIT)
    again = recipe.model_copy(update={"timestamp": recorded_timestamp(statement, args.provenance)})
    work = session.load_settings().work
    session.hold_lock(work, wait=args.wait)
    folder = os.path.join(work, ".repro", recipe.name)
    fs.remove_tree(folder)
    _start(again, folder, *_CONDITIONS[0])
    difference = differing(statement, os.path.join(folder, _IMAGE), again)
    inputs = changed_inputs(statement, again) if difference else []
    if not difference:
        fs.remove_tree(folder)
    lines = [
        f"{recipe.name}: {'NOT reproduced' if difference else 'reproduced'} from {args.provenance}"
    ]
    lines += [f"  differs: {name}" for name in difference]
    lines += [f"  changed input: {name}" for name in inputs]
    say("the signature of the provenance was not checked: `otabuild verify --provenance` does that")
    value = {"reproduced": not difference, "differs": difference, "changed-inputs": inputs}
    emit(args, value, map(printable, lines), ok=not difference)
    return 1 if difference else 0


def describe(name: str, found: Reproduced) -> str:
    """Describe the result in one line."""
    without = (
        ""
        if found.signature
        else " (compared without signature: this signer makes a different one each time)"
    )
    if found.difference:
        return (
            f"{name}: NOT reproducible{without}: {found.difference} (see "
            f"{' and '.join(found.images)})"
        )
    return f"{name}: reproducible{without}  sha256:{found.sha256[0]}"


def reproduce(recipe: Recipe, *, wait: bool = False) -> Reproduced:
    """Build a recipe twice from scratch, each time in a process with different surroundings.

    Raises:
        StateError: a build failed and has reported why, or another process is using the work
            directory.
    """
    from otabuild.image.image import open_image
    from otabuild.pipeline.first_difference import first_difference
    from otabuild.pipeline.signers import signs_alike
    from otabuild.storage import files

    work = session.load_settings().work
    session.hold_lock(work, wait=wait)
    together = os.path.join(work, ".repro", recipe.name)
    fs.remove_tree(together)
    images = [os.path.join(together, str(number), _IMAGE) for number in range(len(_CONDITIONS))]
    for image, (umask, surroundings) in zip(images, _CONDITIONS, strict=True):
        _start(recipe, os.path.dirname(image), umask, surroundings)
    one, other = map(files.hash_file, images)
    difference = None
    if one == other:
        fs.remove_tree(together)
    else:
        with open_image(images[0]) as first, open_image(images[1]) as second:
            difference = first_difference(first, second) or "the layout of the ZIP"
    signature = recipe.sign is None or signs_alike(recipe.sign)
    return Reproduced((one, other), signature, difference, tuple(images) if difference else ())


def _start(recipe: Recipe, folder: str, umask: int, surroundings: dict[str, str]) -> None:
    # The time is given, because with `timestamp: now` each process would have one of its own.
    environ = {**os.environ, **surroundings, EPOCH: str(recipe.timestamp)}
    command = [sys.executable, "-m", "otabuild", "--quiet", "repro", recipe.file, "--once", folder]
    try:
        done = subprocess.run(command, env=environ, umask=umask, check=False)  # noqa: S603 -- runs otabuild itself
    finally:
        with suppress(StorageError):
            fs.remove_tree(os.path.join(folder, _WORK))
    if done.returncode != 0:
        raise StateError(
            "a build failed under different conditions",
            where=recipe.file,
            observed=f"{surroundings}, umask {umask:03o}",
        )


def _build_once(recipe: Recipe, folder: str) -> None:
    from otabuild.api import build
    from otabuild.pipeline.signers import signs_alike

    workspace = session.make_workspace()
    sign: Sign | None = recipe.sign if recipe.sign and signs_alike(recipe.sign) else None
    output = {"output": os.path.join(folder, _IMAGE), "output_dir": None, "sign": sign}
    build(
        recipe.model_copy(update=output),
        workspace=replace(workspace, work=os.path.join(folder, _WORK)),
    )
