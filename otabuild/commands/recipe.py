"""show, check: what a recipe says, before anything is built."""

from __future__ import annotations

import argparse
import json

from otabuild.commands.output import Parsers, add_json, emit


def add(parsers: Parsers) -> None:
    """Add the commands of this module."""
    parsers.group("Build")
    show = parsers.add_parser(
        "show", help="show what a recipe comes to: every key, its value, and where it came from"
    )
    show.add_argument("recipe", metavar="RECIPE", help="a recipe (YAML)")
    add_json(show)
    show.set_defaults(run=run_show)

    check = parsers.add_parser(
        "check",
        help=(
            "check a recipe, its keys, certificates and files as a build "
            "would first, without building"
        ),
    )
    check.add_argument("recipe", metavar="RECIPE", help="a recipe (YAML)")
    add_json(check)
    check.set_defaults(run=run_check)


def run_show(args: argparse.Namespace) -> int:
    """Print the keys of a recipe."""
    from otabuild.pipeline.effective import effective
    from otabuild.recipe.load import load_recipe

    recipe = load_recipe(args.recipe)
    found = list(effective(recipe))
    lines = [
        f"{one.key} = {json.dumps(one.value, ensure_ascii=False)}  # {one.origin}" for one in found
    ]
    keys = [{"key": one.key, "value": one.value, "from": one.origin} for one in found]
    emit(args, {"recipe": recipe.name, "keys": keys}, lines)
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Run the preflight of a build, and nothing else; nothing is written."""
    from otabuild.driver import BuildDriver
    from otabuild.pipeline.steps.preflight_step import PreflightStep

    driver = BuildDriver.load(args.recipe)
    step = PreflightStep(driver.recipe, driver.workspace)
    warnings = step.run(step.inputs()).counts["warnings"]
    line = f"{driver.recipe.file}: nothing is wrong that shows without reading a rootfs"
    emit(args, {"recipe": driver.recipe.name, "warnings": warnings}, [line])
    return 0
