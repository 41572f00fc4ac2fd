"""The doit tasks of every recipe: `from otabuild.tasks import *` in a dodo.py.

doit only schedules. The stamp of a step decides whether it must run (see otabuild.pipeline.step),
so a killed run, a lost database or a needless call changes nothing. Settings come from
`[tool.otabuild]` of pyproject.toml: `recipes`, the folder of recipes (default `recipes`), `work`,
the work directory (default `build/.otabuild`), and `cache-size`, how much it keeps for later builds
(default `20GiB`).
"""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from otabuild import progress

_OTHERS = {
    "clean",
    "dumpdb",
    "forget",
    "help",
    "ignore",
    "info",
    "list",
    "reset-dep",
    "strace",
    "tabcompletion",
}
if "doit" in sys.argv[0] and not _OTHERS.intersection(sys.argv[1:2]):
    # Before the other imports and the recipes, which take a moment.
    progress.show_progress("doit", 0, 0)
    atexit.register(progress.clear)

# ruff: noqa: E402  (everything else comes after the first sign of life)
from doit.exceptions import InvalidDodoFile, TaskFailed

from otabuild import session
from otabuild.doit_shell import Record, at_end
from otabuild.driver import BuildDriver, evict_unused
from otabuild.errors import OtabuildError, StateError
from otabuild.pipeline.build_report import work_line
from otabuild.pipeline.own_steps import artifact_for, no_rootfs, own_steps
from otabuild.pipeline.run import Done
from otabuild.pipeline.step import Decision, Step
from otabuild.pipeline.steps.graph import check_steps
from otabuild.pipeline.workspace import WORK, Workspace
from otabuild.recipe.load import load_recipes

session.speak_utf8()
session.open_streams()

__all__ = ["DOIT_CONFIG", "task__own_steps", "task__steps"]

Task = dict[str, Any]

DOIT_CONFIG = {
    "default_tasks": ["build"],
    "backend": "otabuild",
    "dep_file": os.path.join(WORK, "doit.sqlite3"),
    "reporter": "otabuild",
    "verbosity": 2,
    "minversion": "0.37.0",
}


_KINDS = {
    "preflight": "check keys, certificates and dates before any work",
    "scan": "walk the inputs of each rootfs",
    "store": "hash and compress what is new",
    "tables": "write file tables and resource tables",
    "index": "write configs, manifests and index.json",
    "sign": "sign index.json",
    "build": "build the artifact of each recipe",
    "verify": "verify each artifact entirely",
    "inspect": "list what each artifact contains",
    "deploy": "deploy each rootfs as a tar file",
    "roundtrip": "compare what was deployed with what was built",
    "publish": "publish each image that has a store in its recipe",
    "repro": "build twice from scratch under different conditions, and compare",
}


class _Project(NamedTuple):
    """The valid recipes and all their steps by name, and errors of others by their tasks' names."""

    workspace: Workspace
    drivers: dict[str, BuildDriver]
    steps: dict[str, Step[Any, Any]]
    broken: dict[str, OtabuildError]


@functools.cache
def _project() -> _Project:
    try:
        settings = session.load_settings()
        recipes, broken = load_recipes(settings.recipes)
        workspace = session.make_workspace(settings)
    except OtabuildError as error:
        progress.clear()
        raise InvalidDodoFile(str(error)) from None
    if not recipes and not broken:
        progress.clear()
        raise InvalidDodoFile(
            f"{settings.recipes}: no recipe (*.yaml) found; `otabuild init` writes one"
        )
    drivers = {name: BuildDriver(recipe, workspace) for name, recipe in recipes.items()}
    steps = {
        step.name: step
        for driver in drivers.values()
        for step in (*driver.steps, *check_steps(driver.recipe, workspace))
    }
    return _Project(workspace, drivers, steps, _named(broken, drivers))


def _named(
    broken: Mapping[str, OtabuildError], recipes: Collection[str]
) -> dict[str, OtabuildError]:
    """Return errors by task names made from file stems.

    The names are valid in doit and not used by valid recipes.
    """
    named: dict[str, OtabuildError] = {}
    for stem, error in broken.items():
        name = re.sub("[^A-Za-z0-9._-]", "_", stem)
        while name in recipes or name in named:
            name += "-broken"
        named[name] = error
    return named


class _Current:
    """Lets a step answer doit's question whether it is up to date."""

    decisions: dict[str, Decision[Any]] = {}  # noqa: RUF012  (shared by the run, so that nothing is examined twice)

    def __init__(self, name: str) -> None:
        self.name = name
        self.undecided = ""

    def __call__(self) -> bool:
        try:
            step = _project().steps[self.name]
            step.show_start()
            decision = step.decide()
        except OtabuildError as error:
            self.undecided = f"{error.where}: {error.what}"
            return False  # running the step will report the error
        self.decisions[self.name] = decision
        return not decision.reasons

    def __repr__(self) -> str:
        # `doit info` prints this where it says why a task is not up to date.
        decision = self.decisions.get(self.name)
        if decision and decision.reasons:
            return "; ".join(decision.reasons)
        return self.undecided or "nothing changed"


def run_step(name: str) -> dict[str, Any] | TaskFailed:
    """Run a step and return its counts; a known error becomes one message."""
    try:
        session.hold_lock(_project().workspace.work)
        step = _project().steps[name]
        # Doit may have asked in another process.
        decision = _Current.decisions.pop(name, None) or step.decide()
        reasons = decision.reasons or ("nothing changed, but doit was told to run it anyway",)
        with progress.above():
            for reason in reasons:
                print(progress.fitted(f"   {_whose(name)}{reason}", sys.stdout), flush=True)
        step.show_start()
        results, counts, *_ = step.execute(decision)
        if line := step.describe(results):
            with progress.above():
                print(f"   {_whose(name)}{line}", flush=True)
    except session.FAILURES as error:
        return _failed(error)
    return {"reasons": reasons, "counts": counts}


def _whose(name: str) -> str:
    """Return how a line about a task begins: with its name where `doit -n` runs several."""
    return f"{name}: " if multiprocessing.parent_process() is not None else ""


def run_own(name: str) -> TaskFailed | None:
    """Run a product's own step; a known error becomes one message."""
    kind, _, rest = name.partition(":")
    own = own_steps()
    recipe, _, rootfs = rest.partition("/")
    try:
        if kind == "input":
            own.before_scan[recipe, rootfs]()
        else:
            own.after_build[recipe, kind](artifact_for(_project().drivers[recipe].recipe, kind))
    except session.FAILURES as error:
        return _failed(error)
    return None


def _failed(error: Exception) -> TaskFailed:
    known = session.known(error)
    if known is None:
        raise error
    return TaskFailed(str(known))


def clean_step(name: str, dryrun: bool) -> None:
    """Remove the output of a step, unless a build is using it."""
    if not dryrun:
        session.lock_or_exit()
    for path in _project().steps[name].remove(dry_run=dryrun):
        print(f"{name}: removed {path}" if not dryrun else f"{name}: would remove {path}")


def run_repro(name: str) -> TaskFailed | None:
    """Build a recipe twice and compare."""
    from otabuild.commands.repro import describe, reproduce  # noqa: PLC0415  (a task imports what it needs when it runs)

    try:
        found = reproduce(_project().drivers[name].recipe)
    except session.FAILURES as error:
        return _failed(error)
    if found.difference:
        return TaskFailed(describe(name, found))
    print(f"   {describe(name, found)}", flush=True)
    return None


def run_inspect(artifact: str) -> TaskFailed | None:
    """Print the content of an artifact."""
    from otabuild.cli import main  # noqa: PLC0415  (as above)

    return None if main(["list-image", artifact]) == 0 else TaskFailed("it cannot be read")


def refuse(message: str) -> TaskFailed:
    """Report why a recipe cannot be built; doit takes no class as an action."""
    return TaskFailed(message)


def _task(
    name: str, doc: str, action: tuple[Callable[..., Any], list[str]], after: Iterable[str] = ()
) -> Task:
    """Make a task that doit always runs."""
    kind, _, rest = name.partition(":")
    return {
        "basename": kind,
        "name": rest,
        "doc": doc,
        "actions": [action],
        "uptodate": [False],
        "task_dep": list(after),
        "io": {"capture": False},
    }


def _step(step: Step[Any, Any]) -> Task:
    return {
        **_task(step.name, step.doc, (run_step, [step.name]), step.after),
        "meta": {"shown": not step.asks},
        "uptodate": [_Current(step.name)],
        "targets": list(step.targets),
        "clean": [(clean_step, [step.name])],
    }


def task__steps() -> Iterator[Task]:
    """Yield every step of every recipe."""
    project = _project()
    for kind, doc in _KINDS.items():
        yield {"basename": kind, "name": None, "doc": doc}
    yield from map(_step, project.steps.values())
    for name, driver in project.drivers.items():
        if artifact := driver.recipe.output:
            listing = f"list what {artifact} contains"
            yield _task(f"inspect:{name}", listing, (run_inspect, [artifact]), [f"build:{name}"])
        yield _task(
            f"repro:{name}",
            f"build {name} twice from scratch, and compare",
            (run_repro, [name]),
            [f"input*:{name}/*"],
        )
    for name, error in project.broken.items():
        hint = (
            "\n  hint: the others can still be built: doit "
            f"{' '.join(f'build:{good}' for good in project.drivers)}"
        )
        message = f"{error}{hint if project.drivers else ''}"
        # Every kind: `doit verify` must not pass because a recipe cannot be read.
        for kind in _KINDS:
            yield _task(f"{kind}:{name}", "!! this recipe is broken", (refuse, [message]))


def task__own_steps() -> Iterator[Task]:
    """Yield the steps registered with otabuild.before_scan and otabuild.after_build."""
    before, after = own_steps()
    project = _project()
    for (recipe, rootfs), function in before.items():
        name = f"input:{recipe}/{rootfs}"
        error = _unknown(name, recipe, rootfs)
        if error and (recipe in project.drivers or not project.broken):
            raise InvalidDodoFile(str(error))  # it would never run
        task = _own(name, function, error)
        del task["name"]  # outside the group `input`, which a task_input of the product may define
        yield {**task, "basename": name}
    for (recipe, kind), finish in after.items():
        name = f"{kind}:{recipe}"
        error = _unknown(name, recipe)
        yield _own(name, finish, error, () if error else [f"build:{recipe}"])


def _unknown(step: str, recipe: str, rootfs: str | None = None) -> OtabuildError | None:
    """Return what is wrong with a product's own step that does not fit any valid recipe."""
    _, drivers, _, broken = _project()
    if recipe not in drivers:
        known = ", ".join(drivers) or None
        hint = (
            f"fix build:{', build:'.join(broken)}"
            if broken
            else "correct the name where the step is registered"
        )
        return StateError(
            "a step for a recipe that does not exist", where=step, expected=known, hint=hint
        )
    known_rootfs = drivers[recipe].recipe.rootfs
    if rootfs is not None and rootfs not in known_rootfs:
        return no_rootfs(recipe, rootfs, known_rootfs)
    return None


def _own(
    name: str, function: Callable[..., None], error: OtabuildError | None, after: Iterable[str] = ()
) -> Task:
    doc = (function.__doc__ or "your own step").strip().splitlines()[0]
    return _task(name, doc, (refuse, [str(error)]) if error else (run_own, [name]), after)


def _write_reports(records: dict[str, Record]) -> None:
    """Write the report of every requested artifact, and show the artifact."""
    project = _project()
    for name, driver in project.drivers.items():
        if f"build:{name}" not in records:
            continue
        done = [
            Done(
                step.name,
                tuple(record.values.get("reasons", ())),
                {},
                record.values.get("counts", {}),
                record.seconds,
            )
            for step in project.steps.values()
            if step.name.partition(":")[2].partition("/")[0] == name
            and (record := records.get(step.name))
        ]
        made = driver.write_report(done)
        with progress.above():
            print(
                progress.fitted(f"{made.describe()}\n   {work_line(done)}", sys.stdout), flush=True
            )


def _limit_cache(records: dict[str, Record]) -> None:
    """Limit the size of the work directory, if anything was built."""
    if any(record.ran and name.startswith("build:") for name, record in records.items()):
        evict_unused(_project().workspace)


at_end += [_write_reports, _limit_cache]
