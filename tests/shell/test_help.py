"""Help is documentation: every command and every option is described, and help never asks anything."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml

from otabuild.cli import main, make_parser
from tests.shell.projects import Project, make_project


def parsers(parser: argparse.ArgumentParser, name: str = "otabuild") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield a parser, and those of its commands."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command, below in action.choices.items():
                yield from parsers(below, f"{name} {command}")


COMMANDS = dict(parsers(make_parser()))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_explained(name: str) -> None:
    parser = COMMANDS[name]
    assert re.fullmatch(r"[A-Z].*[.)\"]", parser.description or "", re.DOTALL)
    for action in parser._actions:
        assert action.help or isinstance(action, argparse._SubParsersAction), action.dest
    assert parser.format_help().startswith(f"usage: {name}")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "otabuild"])
def test_every_command_prints_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = name.split()[1:]
    for ask in (["--help"], ["-q", "-h"]):
        with pytest.raises(SystemExit) as ended:
            main([*words, *ask])
        assert not ended.value.code
        assert capsys.readouterr().out == COMMANDS[name].format_help()


def test_no_python_colours_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    for _, parser in parsers(make_parser()):
        assert "\x1b" not in parser.format_help()


@pytest.mark.parametrize("name", COMMANDS)
def test_arguments_are_named_in_capitals(name: str) -> None:
    for action in COMMANDS[name]._actions:
        if action.option_strings or action.choices or isinstance(action, argparse._SubParsersAction):
            continue
        assert str(action.metavar or action.dest).isupper(), action.dest


def test_doit_list_explains_every_task(tmp_path: Path) -> None:
    done = make_project(tmp_path).doit("list", "--all")
    tasks = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert {"build", "verify:vehicle", "scan:vehicle/main", "repro:vehicle", "roundtrip:vehicle"} <= tasks.keys()
    assert all(len(text.split()) > 1 for text in tasks.values())


def test_init_asks_nothing_and_what_it_writes_builds(tmp_path: Path) -> None:
    project = Project(tmp_path)
    done = project.otabuild("init")
    written = ["recipes/image.yaml", "recipes/recipe.schema.json", "dodo.py", ".gitignore"]
    assert done.out.splitlines() == [f"wrote {path}" for path in written]
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "rootfs/etc/hostname").write_text("image\n")
    assert done.err.splitlines() == [
        "next:",
        "  1. put a root file system into rootfs/",
        "  2. otabuild pki demo pki",
        "  3. otabuild build recipes/image.yaml, or doit build",
    ]
    assert project.otabuild("pki", "demo", "pki").code == 0
    assert project.otabuild("build", "recipes/image.yaml").code == 0
    assert project.doit("build").code == 0
    assert project.otabuild("verify", "dist/image.zip", "--ca", "pki/root-ca.pem").code == 0
    assert {"/build/", "/dist/", "/pki/"} == set((tmp_path / ".gitignore").read_text().split())


def test_init_keeps_what_a_product_has(tmp_path: Path) -> None:
    for name in ("dodo.py", ".gitignore"):
        (tmp_path / name).write_text("# mine\n")
    done = Project(tmp_path).otabuild("init", "recipes/other.yaml")
    assert done.out.splitlines() == ["wrote recipes/other.yaml", "wrote recipes/recipe.schema.json"]
    assert all((tmp_path / name).read_text() == "# mine\n" for name in ("dodo.py", ".gitignore"))


def test_init_elsewhere_writes_nothing_where_doit_would_not_find_the_recipe(tmp_path: Path) -> None:
    done = Project(tmp_path).otabuild("init", "variants 2/a.yaml")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == ["variants 2"]
    assert "3. otabuild build 'variants 2/a.yaml'\n" in done.err


def test_the_starter_recipe_is_wired_to_its_schema(tmp_path: Path) -> None:
    Project(tmp_path).otabuild("init", "recipes/vehicle.yaml")
    text = (tmp_path / "recipes/vehicle.yaml").read_text(encoding="utf-8")
    schema = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert schema
    known = json.loads((tmp_path / "recipes" / schema[1]).read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load(text), known)
    assert known == json.loads(Project(tmp_path).otabuild("schema").out)


@pytest.mark.parametrize(
    "path", ["product", "recipes/a b.yaml", "recipes/a: b.yaml", "recipes/-x.yaml", "x.txt", ".yaml"]
)
def test_init_refuses_a_name_that_no_recipe_can_have(tmp_path: Path, path: str) -> None:
    done = Project(tmp_path).otabuild("init", "--", path)
    assert done.code == 1
    assert "not the name of a recipe" in done.err
    assert not [found.name for found in tmp_path.iterdir() if found.name != "home"]


@pytest.mark.parametrize("name", ["2", "1.2", "yes", "null"])
def test_the_name_of_a_starter_recipe_is_text(tmp_path: Path, name: str) -> None:
    project = Project(tmp_path)
    assert project.otabuild("init", f"recipes/{name}.yaml").code == 0
    assert project.otabuild("plan", f"recipes/{name}.yaml").code == 0


def test_init_writes_over_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/image.yaml").write_text("mine\n")
    assert project.otabuild("init").code == 1
    assert (tmp_path / "recipes/image.yaml").read_text() == "mine\n"
    assert project.otabuild("init", "recipes/other.yaml").code == 0
