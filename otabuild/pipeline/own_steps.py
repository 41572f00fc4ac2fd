"""A product's own steps in the task graph of a recipe.

Use them in a dodo.py, or before calling `otabuild.build`:

    import otabuild

    @otabuild.before_scan("vehicle", "main")
    def fetch() -> None:
        "Fetch the rootfs that the platform team built."
        ...

    @otabuild.after_build("vehicle")
    def notes(artifact: str) -> None:
        "Write the release notes."
        ...

The first is the task `input:vehicle/main`, the second `notes:vehicle`. They run every time, and
decide themselves whether they have anything to do.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from otabuild.errors import StateError

if TYPE_CHECKING:
    # doit's plugin imports this module before doit shows any sign of life.
    from otabuild.recipe.model import Recipe

BeforeScan = Callable[[], None]
AfterBuild = Callable[[str], None]

# The tasks of otabuild, and the commands of doit.
_TAKEN = (
    "build deploy index input inspect preflight repro roundtrip scan sign store tables verify "
    "run list info clean forget ignore dumpdb strace tabcompletion reset-dep help"
)


class OwnSteps(NamedTuple):
    """The registered steps: by (recipe, rootfs), and by (recipe, name of the step)."""

    before_scan: dict[tuple[str, str], BeforeScan]
    after_build: dict[tuple[str, str], AfterBuild]


_registered = OwnSteps({}, {})
_tasks: set[str] = set()


def before_scan(recipe: str, rootfs: str) -> Callable[[BeforeScan], BeforeScan]:
    """Run a function without arguments before a rootfs of a recipe is scanned.

    Raises:
        StateError: such a step already exists.
    """

    def register(function: BeforeScan) -> BeforeScan:
        if (recipe, rootfs) in _registered.before_scan:
            raise StateError("there is already an input step", where=f"input:{recipe}/{rootfs}")
        _registered.before_scan[recipe, rootfs] = function
        return function

    return register


def after_build(recipe: str) -> Callable[[AfterBuild], AfterBuild]:
    """Run a function, under its own name, after a recipe was built.

    Its argument is the path of the artifact.

    Raises:
        StateError: the name is taken.
    """

    def register(function: AfterBuild) -> AfterBuild:
        name = function.__name__.replace("_", "-")
        if name in _TAKEN.split() or (recipe, name) in _registered.after_build:
            raise StateError(
                "this step name is already taken",
                where=f"{name}:{recipe}",
                hint="rename the function",
            )
        _registered.after_build[recipe, name] = function
        return function

    return register


def no_rootfs(recipe: str, rootfs: str, known: Iterable[str]) -> StateError:
    """Return the error for an input step of a rootfs that its recipe lacks: it would never run."""
    return StateError(
        "a step for a rootfs that the recipe does not have",
        where=f"input:{recipe}/{rootfs}",
        expected=", ".join(known),
        hint="correct the name where the step is registered",
    )


def artifact_for(recipe: Recipe, step: str) -> str:
    """Return the artifact that a step after the build receives.

    Raises:
        StateError: the recipe writes none.
    """
    if recipe.output is None:
        raise StateError(
            "this step needs an artifact, and the recipe writes none",
            where=f"{step}:{recipe.name}",
            hint="add `output` to the recipe",
        )
    return recipe.output


def note_tasks(names: Iterable[str]) -> None:
    """Record all tasks of a doit run.

    A `task_input` of the product makes input steps without registering them.
    """
    _tasks.update(names)


def has_input_step(recipe: str, rootfs: str) -> bool:
    """Whether a step that may create the scan's input runs before the scan of a rootfs."""
    return (recipe, rootfs) in _registered.before_scan or bool(
        fnmatch.filter(_tasks, f"input*:{recipe}/{rootfs}")
    )


def own_steps() -> OwnSteps:
    """Return a copy of the steps registered so far."""
    return OwnSteps(dict(_registered.before_scan), dict(_registered.after_build))
