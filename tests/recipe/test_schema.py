"""The JSON Schema accepts what the loader accepts, and the starter recipe loads."""

from __future__ import annotations

import pathlib
from typing import Any

import jsonschema
import pytest
import yaml

from otabuild.recipe.load import load_recipe
from otabuild.recipe.schema import json_schema
from otabuild.recipe.starter import keeps_owners, starter_recipe
from tests.recipe import world

GOOD = sorted((pathlib.Path(world.HERE) / "good").glob("*.yaml"))
TYPOS = ["unknown-key-typo", "source-of-two-kinds", "clean-typo", "set-mode-symbolic", "annotation-own-is-a-number"]


def validator() -> Any:
    return jsonschema.Draft202012Validator(json_schema())


def test_is_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_accepts_good_recipes(path: pathlib.Path) -> None:
    text = path.read_text().replace("timestamp: 2026-01-01T00:00:00Z", "timestamp: now")
    assert [error.message for error in validator().iter_errors(yaml.safe_load(text))] == []


@pytest.mark.parametrize("name", TYPOS)
def test_refuses_what_an_editor_can_see(name: str) -> None:
    text = (pathlib.Path(world.HERE) / "broken" / f"{name}.yaml").read_text().replace("2026-01-01T00:00:00Z", "now")
    assert list(validator().iter_errors(yaml.safe_load(text)))


def test_every_key_is_described() -> None:
    schema = json_schema()
    for model in (schema, *schema["$defs"].values()):
        for key, value in model.get("properties", {}).items():
            about = value.get("description") or schema["$defs"][value["$ref"].rpartition("/")[2]].get("description")
            assert about, f"{model['title']}.{key}"


def test_knows_no_null_and_no_inner_key() -> None:
    assert "null" not in str(json_schema()["$defs"])
    assert "\0file" not in json_schema()["properties"]
    assert "name" not in json_schema()["required"]


def test_starter(tmp_path: pathlib.Path) -> None:
    text = starter_recipe("vehicle", keep_owners=False)
    assert text.startswith("# yaml-language-server: $schema=")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "vehicle.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "recipes" / "vehicle.yaml", world.OUTSIDE_GIT, root=str(tmp_path))
    assert (recipe.name, recipe.output) == ("vehicle", "dist/vehicle.zip")
    assert recipe.verify
    assert recipe.verify.trust == ("pki/root-ca.pem",)
    assert [error.message for error in validator().iter_errors(yaml.safe_load(text))] == []


def test_a_starter_gives_only_trees_of_ordinary_users_to_root(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "recipes" / "vehicle.yaml")
    assert keeps_owners(path, euid=0)
    assert not keeps_owners(path, euid=1000)
    (tmp_path / "rootfs").mkdir()
    own = (tmp_path / "rootfs").stat().st_uid == 0
    assert keeps_owners(path, euid=0) == keeps_owners(path, euid=1000) == own
    kept, given = (
        yaml.safe_load(starter_recipe("vehicle", keep_owners=keep))["rootfs"]["main"] for keep in (True, False)
    )
    assert "owner" not in kept
    assert given == {**kept, "owner": "0:0"}
