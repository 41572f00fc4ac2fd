"""build, plan, schema, init, version."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from otabuild import session
from otabuild.commands.output import Parsers, add_json, emit, say
from otabuild.progress import fitted, tell


def add(parsers: Parsers) -> None:
    """Add the commands of this module."""
    parsers.group("Build")
    init = parsers.add_parser(
        "init",
        help="start a product: write a commented recipe, its JSON Schema, dodo.py and .gitignore",
    )
    init.add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        default="recipes/image.yaml",
        help="the recipe to write; default: recipes/image.yaml",
    )
    add_json(init)
    init.set_defaults(run=run_init)

    build = parsers.add_parser(
        "build", help="build the artifact of a recipe; only what changed is redone"
    )
    build.add_argument("recipe", metavar="RECIPE", help="a recipe (YAML)")
    build.add_argument(
        "--wait",
        action="store_true",
        help="wait while another build is running in the same directory",
    )
    add_json(build)
    build.set_defaults(run=run_build)

    plan = parsers.add_parser(
        "plan", help="show which steps a build would run, and why; nothing is written"
    )
    plan.add_argument("recipe", metavar="RECIPE", help="a recipe (YAML)")
    add_json(plan)
    plan.set_defaults(run=run_plan)

    schema = parsers.add_parser(
        "schema",
        help=(
            "print the JSON Schema of recipes, for editors, or of what a command prints with --json"
        ),
    )
    schema.add_argument(
        "command", metavar="COMMAND", nargs="*", help="such as build; default: recipes"
    )
    schema.set_defaults(run=run_schema)

    parsers.group("Maintenance")
    version = parsers.add_parser(
        "version", help="print the version, and those of the libraries that bytes depend on"
    )
    add_json(version)
    version.set_defaults(run=run_version)

    words = parsers.add_parser("help", help="print this, or the help of a command")
    words.add_argument("command", metavar="COMMAND", nargs="*", help="such as build")
    words.set_defaults(run=run_help)


def run_build(args: argparse.Namespace) -> int:
    """Run every step of a recipe that has a reason to run."""
    from otabuild.api import build
    from otabuild.ci import grouped
    from otabuild.pipeline.build_report import Made, build_report, work_line

    started = time.monotonic()
    with grouped(tell) as begin:
        result = build(args.recipe, wait=args.wait, tell=begin)
    tell(work_line(result.steps))
    made = Made(result.artifact, result.sha256, result.index_json)
    line = f"{made.describe()}  {time.monotonic() - started:.1f} s"
    emit(args, build_report(made, result.steps), fitted(line, sys.stdout).splitlines())
    return 0


def run_plan(args: argparse.Namespace) -> int:
    """Print which steps would run and why. Steps after them may turn out to have nothing to do."""
    from otabuild.driver import BuildDriver

    driver = BuildDriver.load(args.recipe)
    found, base = driver.plan(), driver.plan_base()
    lines = [f"{item.name}: {'; '.join(item.reasons) or 'up to date'}" for item in found]
    lines += [base.describe()] if base else []
    steps = [{"step": item.name, "reasons": item.reasons} for item in found]
    value = base and {"place": base.place, "trusted": base.is_trusted, "resources": base.resources}
    emit(args, {"steps": steps, "base": value}, lines)
    return 0


def run_schema(args: argparse.Namespace) -> int:
    """Print the JSON Schema of recipes, or of the output of a command."""
    from otabuild.errors import InputError
    from otabuild.outputs.output_schema import COMMANDS, output_schema
    from otabuild.recipe.schema import json_schema

    command = " ".join(args.command)
    if command and command not in COMMANDS:
        raise InputError(
            "not a command with --json", observed=command, expected=", ".join(COMMANDS)
        )
    schema = output_schema(command) if command else json_schema()
    print(json.dumps(schema, ensure_ascii=False, indent=2))
    return 0


def run_init(args: argparse.Namespace) -> int:
    """Write a starter recipe and the files that a product needs around it; overwrite nothing."""
    from otabuild.errors import InputError, StateError
    from otabuild.recipe.fields import is_name
    from otabuild.recipe.schema import json_schema
    from otabuild.recipe.starter import DODO, GITIGNORE, keeps_owners, next_steps, starter_recipe
    from otabuild.storage.files import write_file

    folder, file = os.path.split(args.path)
    name, ending = os.path.splitext(file)
    if ending not in (".yaml", ".yml") or not is_name(name):
        raise InputError(
            "not the name of a recipe",
            where=args.path,
            observed=file,
            expected=(
                "letters, digits, dots, dashes and underscores, starting with a letter or digit, "
                "then .yaml or .yml"
            ),
            hint="otabuild init recipes/NAME.yaml",
        )
    if os.path.lexists(args.path):
        raise StateError(
            "this file already exists",
            where=args.path,
            hint="name another file: otabuild init PATH",
        )
    schema = json.dumps(json_schema(), ensure_ascii=False, indent=2)
    files = {
        args.path: starter_recipe(name, keep_owners=keeps_owners(args.path, euid=os.geteuid())),
        os.path.join(folder, "recipe.schema.json"): f"{schema}\n",
    }
    settings = session.load_settings()
    with_doit = os.path.abspath(folder) == os.path.abspath(settings.recipes)
    if with_doit:  # only if doit would find this recipe
        around = {
            os.path.normpath(os.path.join(settings.root, own)): text
            for own, text in (("dodo.py", DODO), (".gitignore", GITIGNORE))
        }
        files |= {path: text for path, text in around.items() if not os.path.lexists(path)}
    for path, text in files.items():
        write_file(path, text.encode())
    emit(args, {"files": list(files)}, [f"wrote {path}" for path in files])
    say(next_steps(args.path, with_doit=with_doit))
    return 0


def run_version(args: argparse.Namespace) -> int:
    """Print versions."""
    from otabuild.pipeline.build_report import versions

    packages = ("cryptography", "doit", "msgpack", "pydantic", "pyjwt", "pyyaml", "zstandard")
    found = versions(packages)
    emit(args, found, [f"otabuild {found['otabuild']}"])
    return 0


def run_help(args: argparse.Namespace) -> int:
    """Print help."""
    from otabuild.cli import make_parser

    make_parser().parse_args([*args.command, "--help"])
    return 0
