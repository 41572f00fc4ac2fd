"""The doit tasks of every recipe: `from otabuild.tasks import *` in a dodo.py.

doit only schedules. Whether a step must run is decided by its stamp (see otabuild.pipeline.step), so a killed run, a
lost database or a needless call changes nothing. Settings come from `[tool.otabuild]` of pyproject.toml: `recipes`,
the folder of recipes (default `recipes`), `work`, the work directory (default `build/.otabuild`), and `cache-size`, how
much it keeps for later builds (default `20GiB`).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from doit.exceptions import InvalidDodoFile, TaskFailed

from otabuild import session
from otabuild.doit_shell import Record, at_end
from otabuild.errors import OtabuildError
from otabuild.pipeline.own_steps import own_steps
from otabuild.pipeline.report import write_report
from otabuild.pipeline.run import Done
from otabuild.pipeline.step import Decision, Step
from otabuild.pipeline.steps import build_steps, check_steps
from otabuild.pipeline.workspace import WORK, Workspace
from otabuild.progress import show_progress
from otabuild.recipe.load import load_recipes
from otabuild.recipe.model import Recipe

__all__ = [
    "DOIT_CONFIG",
    "task__own_steps",
    "task_build",
    "task_deploy",
    "task_index",
    "task_inspect",
    "task_preflight",
    "task_repro",
    "task_roundtrip",
    "task_scan",
    "task_sign",
    "task_store",
    "task_tables",
    "task_verify",
]

Task = dict[str, Any]

DOIT_CONFIG = {
    "default_tasks": ["build"],
    "backend": "otabuild",
    "dep_file": os.path.join(WORK, "doit.sqlite3"),
    "reporter": "otabuild",
    "verbosity": 2,
    "minversion": "0.37.0",
}


class _Project(NamedTuple):
    """The steps of all good recipes by name, and what is wrong with the others, by file stem."""

    workspace: Workspace
    recipes: dict[str, Recipe]
    steps: dict[str, Step]
    broken: dict[str, OtabuildError]


@functools.cache
def _project() -> _Project:
    try:
        settings = session.load_settings()
        recipes, broken = load_recipes(settings.recipes)
        workspace = session.make_workspace(settings, show_progress)
    except OtabuildError as error:
        raise InvalidDodoFile(str(error)) from None
    if not recipes and not broken:
        raise InvalidDodoFile(f"{settings.recipes}: no recipe (*.yaml) is there; `otabuild init` writes one")
    steps: dict[str, Step] = {}
    failures: dict[str, OtabuildError] = dict(broken)
    for name, recipe in recipes.items():
        try:
            made = [*build_steps(recipe, workspace), *check_steps(recipe, workspace)]
            steps |= {step.name: step for step in made}
        except OtabuildError as error:
            failures[name] = error
    return _Project(workspace, recipes, steps, failures)


class _Current:
    """doit's question whether a step is up to date, answered by the step."""

    decisions: dict[str, Decision] = {}  # noqa: RUF012  (one memory for the run: what was looked at is not again)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self) -> bool:
        try:
            decision = _project().steps[self.name].decide()
        except OtabuildError:
            return False  # running the step will tell what is wrong
        self.decisions[self.name] = decision
        return not decision.reasons

    def __repr__(self) -> str:
        decision = self.decisions.get(self.name)
        return "; ".join(decision.reasons) if decision and decision.reasons else "nothing changed"


def run_step(name: str) -> dict[str, Any] | TaskFailed:
    """Run a step and give its counts; a known error becomes one message."""
    try:
        session.hold_lock(session.load_settings().work)
        decision = _Current.decisions.pop(name, None)
        for reason in decision.reasons if decision else ():
            print(f"   {reason}", flush=True)
        counts = _project().steps[name].execute(decision and decision.key).counts
    except OtabuildError as error:
        return TaskFailed(str(error))
    return {"reasons": decision.reasons if decision else (), "counts": counts}


def run_own(name: str) -> TaskFailed | None:
    """Run a step of the product's own; a known error becomes one message."""
    kind, _, rest = name.partition(":")
    own = own_steps()
    recipe, _, rootfs = rest.partition("/")
    try:
        if kind == "input":
            own.before_scan[recipe, rootfs]()
        else:
            own.after_build[recipe, kind](_project().recipes[recipe].output)
    except OtabuildError as error:
        return TaskFailed(str(error))
    return None


def clean_step(name: str, dryrun: bool) -> None:
    """Remove what a step made; not while a build works with it."""
    if not dryrun:
        session.lock_or_exit()
    for path in _project().steps[name].remove(dry_run=dryrun):
        print(f"{name}: removed {path}" if not dryrun else f"{name}: would remove {path}")


def refuse(message: str) -> TaskFailed:
    """Say why a recipe cannot be built."""
    return TaskFailed(message)


def _tasks(kind: str, doc: str) -> Iterator[Task]:
    yield {"basename": kind, "name": None, "doc": doc}
    project = _project()
    for step in project.steps.values():
        if step.name.startswith(f"{kind}:"):
            yield _task(step)
    if kind == "build":
        for stem, error in project.broken.items():
            yield {
                "name": stem,
                "doc": "!! this recipe is broken",
                "actions": [(refuse, [str(error)])],
                "uptodate": [False],
            }


def _task(step: Step) -> Task:
    kind, _, name = step.name.partition(":")
    return {
        "basename": kind,
        "name": name,
        "doc": step.doc,
        "actions": [(run_step, [step.name])],
        "uptodate": [_Current(step.name)],
        "targets": list(step.targets),
        "task_dep": list(step.after),
        "clean": [(clean_step, [step.name])],
        "io": {"capture": False},
    }


def _own(name: str, doc: str | None, after: list[str]) -> Task:
    kind, _, rest = name.partition(":")
    return {
        "basename": kind,
        "name": rest,
        "doc": (doc or name).strip().splitlines()[0],
        "actions": [(run_own, [name])],
        "uptodate": [False],
        "task_dep": after,
        "io": {"capture": False},
    }


def task__own_steps() -> Iterator[Task]:
    """Steps that were registered with otabuild.before_scan and otabuild.after_build."""
    before, after = own_steps()
    for (recipe, rootfs), function in before.items():
        yield _own(f"input:{recipe}/{rootfs}", function.__doc__, [])
    for (recipe, name), finish in after.items():
        yield _own(f"{name}:{recipe}", finish.__doc__, [f"build:{recipe}"])


def _write_reports(records: dict[str, Record]) -> None:
    """Write the build report of every recipe whose artifact was asked for and is good."""
    project = _project()
    for name, recipe in project.recipes.items():
        if f"build:{name}" not in records:
            continue
        done = [
            Done(step.name, tuple(values.get("reasons", ())), {}, values.get("counts", {}), record.seconds)
            for step in project.steps.values()
            if step.name.partition(":")[2].partition("/")[0] == name and (record := records.get(step.name))
            for values in [record.values]
        ]
        write_report(recipe.output, done)


def _limit_cache(records: dict[str, Record]) -> None:
    """Keep the work directory within its size, if anything was built."""
    if any(record.ran and name.startswith("build:") for name, record in records.items()):
        session.limit_cache(_project().workspace)


at_end += [_write_reports, _limit_cache]


def task_preflight() -> Iterator[Task]:
    """Check keys, certificates and dates."""
    yield from _tasks("preflight", "check keys, certificates and dates before any work")


def task_scan() -> Iterator[Task]:
    """Walk the inputs of each rootfs."""
    yield from _tasks("scan", "walk the inputs of each rootfs")


def task_store() -> Iterator[Task]:
    """Hash and compress what is new."""
    yield from _tasks("store", "hash and compress what is new")


def task_tables() -> Iterator[Task]:
    """Write file tables and resource tables."""
    yield from _tasks("tables", "write file tables and resource tables")


def task_index() -> Iterator[Task]:
    """Write configs, manifests and index.json."""
    yield from _tasks("index", "write configs, manifests and index.json")


def task_sign() -> Iterator[Task]:
    """Sign index.json."""
    yield from _tasks("sign", "sign index.json")


def task_build() -> Iterator[Task]:
    """Build the artifact of each recipe."""
    yield from _tasks("build", "build the artifact of each recipe")


def task_verify() -> Iterator[Task]:
    """Verify each artifact."""
    yield from _tasks("verify", "verify each artifact entirely")


def task_deploy() -> Iterator[Task]:
    """Deploy each rootfs as a tar file."""
    yield from _tasks("deploy", "deploy each rootfs as a tar file")


def task_roundtrip() -> Iterator[Task]:
    """Compare what was deployed with what was built."""
    yield from _tasks("roundtrip", "compare what was deployed with what was built")


def run_repro(name: str) -> TaskFailed | None:
    """Build a recipe twice and compare."""
    from otabuild.commands.repro import describe, reproduce  # noqa: PLC0415  (a task imports what it needs when it runs)

    try:
        found = reproduce(_project().recipes[name])
    except OtabuildError as error:
        return TaskFailed(str(error))
    if found.difference:
        return TaskFailed(describe(name, found))
    print(f"   {describe(name, found)}", flush=True)
    return None


def run_inspect(name: str) -> TaskFailed | None:
    """Print what an artifact holds."""
    from otabuild.cli import main  # noqa: PLC0415  (as above)

    return None if main(["list-image", _project().recipes[name].output]) == 0 else TaskFailed("it cannot be read")


def task_inspect() -> Iterator[Task]:
    """List what each artifact holds."""
    yield {"basename": "inspect", "name": None, "doc": "list what each artifact holds"}
    for name, recipe in _project().recipes.items():
        yield {
            "basename": "inspect",
            "name": name,
            "doc": f"list what {recipe.output} holds",
            "actions": [(run_inspect, [name])],
            "uptodate": [False],
            "task_dep": [f"build:{name}"],
            "io": {"capture": False},
        }


def task_repro() -> Iterator[Task]:
    """Build twice from nothing under other conditions, and compare."""
    yield {"basename": "repro", "name": None, "doc": "build twice from nothing under other conditions, and compare"}
    for name in _project().recipes:
        yield {
            "basename": "repro",
            "name": name,
            "doc": f"build {name} twice from nothing, and compare",
            "actions": [(run_repro, [name])],
            "uptodate": [False],
            "task_dep": [f"input*:{name}/*"],
            "io": {"capture": False},
        }
