"""Steps of a product's own in the task graph of a recipe.

In a dodo.py, or before `otabuild.build` is called:

    import otabuild

    @otabuild.before_scan("vehicle", "main")
    def fetch() -> None:
        "Fetch the rootfs that the platform team built."
        ...

    @otabuild.after_build("vehicle")
    def notes(artifact: str) -> None:
        "Write the release notes."
        ...

The first is the task `input:vehicle/main`, the second `notes:vehicle`. They run every time: what they do when there is
nothing to do is theirs to decide.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable
from typing import NamedTuple

from otabuild.errors import StateError

BeforeScan = Callable[[], None]
AfterBuild = Callable[[str], None]

_TAKEN = (
    "build deploy index input inspect preflight repro roundtrip scan sign store tables verify "
    "run list info clean forget ignore dumpdb strace tabcompletion reset-dep help"
)


class OwnSteps(NamedTuple):
    """What was registered: by (recipe, rootfs), and by (recipe, name of the step)."""

    before_scan: dict[tuple[str, str], BeforeScan]
    after_build: dict[tuple[str, str], AfterBuild]


_registered = OwnSteps({}, {})
_tasks: set[str] = set()


def before_scan(recipe: str, rootfs: str) -> Callable[[BeforeScan], BeforeScan]:
    """Run a function before a rootfs of a recipe is scanned; it takes nothing.

    Raises:
        StateError: there is such a step already.
    """

    def register(function: BeforeScan) -> BeforeScan:
        if (recipe, rootfs) in _registered.before_scan:
            raise StateError("there is an input step already", where=f"input:{recipe}/{rootfs}")
        _registered.before_scan[recipe, rootfs] = function
        return function

    return register


def after_build(recipe: str) -> Callable[[AfterBuild], AfterBuild]:
    """Run a function, under its own name, after a recipe was built; it takes the path of the artifact.

    Raises:
        StateError: the name is taken.
    """

    def register(function: AfterBuild) -> AfterBuild:
        name = function.__name__.replace("_", "-")
        if name in _TAKEN.split() or (recipe, name) in _registered.after_build:
            raise StateError("this name of a step is taken", where=f"{name}:{recipe}", hint="rename the function")
        _registered.after_build[recipe, name] = function
        return function

    return register


def no_rootfs(recipe: str, rootfs: str, known: Iterable[str]) -> StateError:
    """What is wrong with an input step for a rootfs that its recipe has not: nothing would ever run it."""
    return StateError(
        "a step for a rootfs that the recipe has not",
        where=f"input:{recipe}/{rootfs}",
        expected=", ".join(known),
        hint="correct the name where the step is registered",
    )


def note_tasks(names: Iterable[str]) -> None:
    """Note all tasks of a doit run: a `task_input` of the product's makes input steps that nobody registered."""
    _tasks.update(names)


def has_input_step(recipe: str, rootfs: str) -> bool:
    """Whether a step runs before the scan of a rootfs, and may make what is scanned."""
    return (recipe, rootfs) in _registered.before_scan or bool(fnmatch.filter(_tasks, f"input*:{recipe}/{rootfs}"))


def own_steps() -> OwnSteps:
    """A copy of what was registered so far."""
    return OwnSteps(dict(_registered.before_scan), dict(_registered.after_build))
