"""The JSON of every command: one object with `ok`, and the keys that the reference names."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest

from otabuild.cli import make_parser
from tests.shell.projects import Project, make_project

PAGE = Path(__file__).parents[2] / "docs/reference/json.md"
ROWS = re.findall(r"^\| ([a-z][a-z -]*) \| (`.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
KEYS = {command: set(re.findall("`([^`]+)`", keys)) for command, keys in ROWS}
IMAGE, RECIPE, PAYLOAD = "dist/vehicle.zip", "recipes/vehicle.yaml", ("--ecu-id", "main")
CERTIFICATE = (
    "--certificate",
    "pki/sign.pem",
    "--chain",
    "pki/intermediate.pem",
    "--timestamp",
    "2025-01-01T00:00:00Z",
)
COMMANDS: dict[str, tuple[str, ...]] = {
    "attest": (RECIPE, "--builder-id", "test", "-o", "out/provenance.json"),
    "build": (RECIPE,),
    "cache prune": ("--size", "1GiB"),
    "cache show": (),
    "cache verify": (),
    "check": (RECIPE,),
    "cost": (IMAGE, IMAGE, *PAYLOAD),
    "deploy-image": (IMAGE, *PAYLOAD, "--ca", "pki/root-ca.pem", "--to-tar", "out/tree.tar"),
    "diff": (IMAGE, IMAGE),
    "extract": (IMAGE, *PAYLOAD, "/etc", "-o", "out/etc"),
    "get-filetable": (IMAGE, *PAYLOAD, "-o", "out/table"),
    "get-resourcetable": (IMAGE, "-o", "out/resources"),
    "init": ("out/new.yaml",),
    "inspect-blob": (IMAGE, "-o", "out/blob", "--checksum", "DIGEST"),
    "lint": (IMAGE,),
    "list-image": (IMAGE,),
    "ls": (IMAGE, *PAYLOAD),
    "otaclient-package": (IMAGE,),
    "packages": (IMAGE,),
    "pki demo": ("out/pki",),
    "plan": (RECIPE,),
    "publish": (IMAGE, "out/store", "--name", "1.0"),
    "pull": (IMAGE, "-o", "out/pulled.zip"),
    "report": (IMAGE, "-o", "out/report.html"),
    "repro": (RECIPE,),
    "show": (RECIPE,),
    "sign": (IMAGE, *CERTIFICATE, "--key", "pki/sign.key", "-o", "out/signed.zip"),
    "sign-prepare": (IMAGE, *CERTIFICATE, "-o", "out/request.json"),
    "stat": (IMAGE, *PAYLOAD, "/usr/bin/tool"),
    "verify": (IMAGE, "--ca", "pki/root-ca.pem"),
    "verify-resources": (IMAGE,),
    "verify-sign": (IMAGE, "--ca", "pki/root-ca.pem"),
    "version": (),
}
ELSEWHERE = {"inspect-index", "lookup-image", "offline", "sbom", "sign-finish"}
"""Commands that print a document, or need more than this product."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a product with an image, and a folder `out` for what commands write."""
    project = make_project(tmp_path_factory.mktemp("json") / "product")
    project.build()
    (project.root / "out").mkdir()
    return project


@pytest.mark.parametrize("command", COMMANDS)
def test_the_keys_are_those_of_the_reference(built: Project, command: str) -> None:
    listed = json.loads(built.otabuild("list-image", IMAGE, "--json").out)
    words = [word.replace("DIGEST", listed["payloads"][0]["digest"]) for word in COMMANDS[command]]
    done = built.otabuild(*command.split(), *words, "--json")
    value = json.loads(done.out)
    assert next(iter(value)) == "ok" or command in ("lint", "verify", "verify-resources")
    assert value["ok"] is (done.code == 0)
    assert value.keys() - {"ok"} <= KEYS[command]
    if command not in ("stat", "deploy-image"):  # have some keys only where they mean something
        assert value.keys() - {"ok"} == KEYS[command]


def test_every_command_with_json_is_checked() -> None:
    action = next(action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction))
    with_json = {
        name
        for name, parser in action.choices.items()
        if any("--json" in one.option_strings for one in parser._actions)
    }
    assert with_json - ELSEWHERE == {command.split()[0] for command in COMMANDS} - {"pki"}


def test_failures_are_objects_too(built: Project) -> None:
    for arguments in (["verify", IMAGE, "--ca", "pki/sign.pem"], ["list-image", "none"], ["check", "none.yaml"]):
        done = built.otabuild(*arguments, "--json")
        value = json.loads(done.out)
        assert (done.code, value["ok"]) == (1, False)
