"""build, plan, schema, init, version."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from typing import TYPE_CHECKING

from otabuild import session
from otabuild.commands.output import Parsers, add_json, emit, human_size, say

if TYPE_CHECKING:
    from otabuild.pipeline.step import Step
    from otabuild.recipe.model import Recipe


def add(parsers: Parsers) -> None:
    """Add the commands of this module."""
    build = parsers.add_parser("build", help="build the artifact of a recipe")
    build.add_argument("recipe", help="a recipe (YAML)")
    build.add_argument("--wait", action="store_true", help="wait while another build works in the same directory")
    add_json(build)
    build.set_defaults(run=run_build)

    plan = parsers.add_parser("plan", help="tell what a build would do, and why")
    plan.add_argument("recipe", help="a recipe (YAML)")
    add_json(plan)
    plan.set_defaults(run=run_plan)

    schema = parsers.add_parser("schema", help="print the JSON Schema of recipes, for editors")
    schema.set_defaults(run=run_schema)

    init = parsers.add_parser("init", help="write a commented recipe to start from")
    init.add_argument("path", nargs="?", default="recipes/image.yaml", help="default: %(default)s")
    init.set_defaults(run=run_init)

    version = parsers.add_parser("version", help="print the version, and those of the libraries that bytes depend on")
    add_json(version)
    version.set_defaults(run=run_version)


def _load(args: argparse.Namespace) -> tuple[Recipe, list[Step]]:
    from otabuild.pipeline.steps import build_steps
    from otabuild.progress import show_progress
    from otabuild.recipe.load import load_recipe

    recipe = load_recipe(args.recipe)
    return recipe, build_steps(recipe, session.make_workspace(session.load_settings(), show_progress))


def run_build(args: argparse.Namespace) -> int:
    """Run every step of a recipe that has a reason to."""
    from otabuild.pipeline.run import run_steps

    started = time.monotonic()
    recipe, steps = _load(args)
    session.hold_lock(session.load_settings().work, wait=args.wait)
    done = run_steps(steps, time.monotonic, say)
    size = os.path.getsize(recipe.output)
    value = {
        "artifact": recipe.output,
        "sha256": done[-1].results["sha256"],
        "bytes": size,
        "steps": [step.to_value() for step in done],
    }
    seconds = time.monotonic() - started
    emit(args, value, [f"{recipe.output}  {human_size(size)}  sha256:{value['sha256']}  {seconds:.1f} s"])
    return 0


def run_plan(args: argparse.Namespace) -> int:
    """Tell which steps would run and why; those that follow a step that runs may find nothing to do."""
    from otabuild.pipeline.run import plan_steps

    _, steps = _load(args)
    found = plan_steps(steps)
    lines = [f"{item.name}: {'; '.join(item.reasons) or 'up to date'}" for item in found]
    emit(args, [{"step": item.name, "reasons": item.reasons} for item in found], lines)
    return 0


def run_schema(_args: argparse.Namespace) -> int:
    """Print the JSON Schema of recipes."""
    from otabuild.recipe.schema import json_schema

    print(json.dumps(json_schema(), ensure_ascii=False, indent=2))
    return 0


def run_init(args: argparse.Namespace) -> int:
    """Write a starter recipe, never over something that is there."""
    from otabuild.errors import StateError
    from otabuild.recipe.starter import starter_recipe
    from otabuild.storage.files import write_file

    if os.path.lexists(args.path):
        raise StateError("there is something already", where=args.path, hint="name another file: otabuild init PATH")
    name = os.path.splitext(os.path.basename(args.path))[0]
    write_file(args.path, starter_recipe(name).encode())
    print(args.path)
    return 0


def run_version(args: argparse.Namespace) -> int:
    """Print versions."""
    import sqlite3
    from importlib.metadata import version

    from otabuild.storage.compress import library_version
    from otabuild.version import __version__

    value = {
        "otabuild": __version__,
        "python": platform.python_version(),
        "libzstd": library_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in ("cryptography", "doit", "msgpack", "pydantic", "pyjwt", "zstandard")},
    }
    emit(args, value, [f"otabuild {__version__}"])
    return 0
