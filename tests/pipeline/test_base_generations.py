"""`storage.base`: an artifact of any generation gives its bundles, and nothing that the format does not allow."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from otabuild.errors import OtabuildError
from otabuild.image.image import open_image
from otabuild.pipeline.run import run_steps
from otabuild.pipeline.steps.graph import build_steps
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.load import load_recipe
from otabuild.verification.verify import verify
from tests import pki
from tests.image import forge
from tests.image.early import CASES, early_resource_table
from tests.image.forge import Mutation
from tests.image.products import NOW, Tree, write_recipe

TREE: Tree = {"etc/one": forge.MEMBERS[0], "etc/two": forge.MEMBERS[1], "etc/other": b"of this image only " * 9}


def _build(folder: Path, base: Path | None, warnings: list[str] | None = None) -> Path:
    storage = {} if base is None else {"storage": {"base": str(base)}}
    folder.mkdir()
    recipe = load_recipe(write_recipe(folder, TREE, **storage))
    told = (warnings if warnings is not None else []).append
    workspace = Workspace(now_ns=NOW * 10**9, work=str(folder / "work"), workers=1, warn=told)
    run_steps(build_steps(recipe, workspace), time.monotonic, lambda _text: None)
    return folder / "image.zip"


def _blobs(path: Path) -> set[bytes]:
    """Check an image without any leave for early builders, and return its blobs."""
    with open_image(path) as image:
        assert verify(image, None, pki.NOW, strict=True, without_signature=True).ok
        return set(image.blobs.stored() or ())


def _frame(path: Path) -> bytes:
    with open_image(path, compat=True) as image:
        return image.resources.by_id(10, "the test").digest


@pytest.mark.parametrize("name", ["good", *CASES])
def test_bundles_of_a_base_of_any_generation(name: str, tmp_path: Path) -> None:
    base = forge.forge(**CASES.get(name, {})).artifact(tmp_path / "base.zip")
    warnings: list[str] = []
    made = _blobs(_build(tmp_path / "new", base, warnings))
    frame_is_good = "resources" not in CASES.get(name, {})
    assert (_frame(base) in made) == frame_is_good
    # Tables are not read for a base, except that of resources: what early builders did in others is not met.
    met = {"0.10", "0.9", "not unique", "frames of tables"}
    assert all(f"storage.base {base}: " in warning for warning in warnings)
    assert bool(warnings) == (name in met)


def test_without_a_base_the_same_files_are_bundled_anew(tmp_path: Path) -> None:
    base = forge.forge().artifact(tmp_path / "base.zip")
    assert _frame(base) not in _blobs(_build(tmp_path / "new", None))


def _broken(statement: str) -> dict[str, Mutation]:
    def change(table: sqlite3.Connection) -> None:
        early_resource_table(table)
        table.execute(statement)

    return {**CASES["0.10"], "resource_table": change}


@pytest.mark.parametrize("number", [4, 12, 13, 21])
def test_a_broken_row_that_no_bundle_needs_is_no_trouble(number: int, tmp_path: Path) -> None:
    statement = f"UPDATE rs_manifest SET size = size + 1 WHERE resource_id = {number}"
    base = forge.forge(**_broken(statement)).artifact(tmp_path / "base.zip")
    assert _frame(base) in _blobs(_build(tmp_path / "new", base))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rs_manifest SET size = size + 1 WHERE resource_id = 1",
        "UPDATE rs_manifest SET size = size + 1 WHERE resource_id = 10",
        "UPDATE rs_manifest SET size = -1 WHERE resource_id = 20",
        "UPDATE rs_manifest SET digest = x'00' WHERE resource_id = 10",
    ],
)
def test_a_broken_row_of_a_bundle_is_an_error(statement: str, tmp_path: Path) -> None:
    base = forge.forge(**_broken(statement)).artifact(tmp_path / "base.zip")
    with pytest.raises(OtabuildError, match=r"storage\.base|earlier release"):
        _build(tmp_path / "new", base)
    assert not (tmp_path / "new" / "image.zip").exists()
