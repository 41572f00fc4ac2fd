"""Builds of two releases, the second one with the first one as its base."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from otabuild.image.image import open_image
from otabuild.pipeline.build_report import Made as MadeByBuild
from otabuild.pipeline.build_report import build_report
from otabuild.pipeline.run import run_steps
from otabuild.pipeline.steps.graph import build_steps
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.load import load_recipe
from otabuild.recipe.model import Recipe
from otabuild.signing.trust import TrustPolicy, load_anchors
from otabuild.verification.verify import verify
from tests.image.products import NOW, Tree, noise, workspace, write_recipe

BUILT = MadeByBuild(None, None, "")


OLD: Tree = {
    **{f"etc/{n:03}": b"%d " % n * 200 for n in range(50)},
    "lib/text": b"words and words " * 30_000,
    "lib/noise": noise(1, 300_000),
    "large/text": b"many words " * 900_000,
    "large/noise": noise(2, 9 << 20),
    "large/slices": noise(3, 33 << 20),
    "tiny": b"t",
}
NEW: Tree = OLD | {"etc/007": b"changed " * 99, "lib/more": b"other words " * 30_000}
HELD = {content for content in NEW.values() if len(content) > 64} & set(OLD.values())


class Made(NamedTuple):
    """An artifact, if the recipe has an output, what its build counted and said, and how to go on from it."""

    path: Path
    totals: dict[str, int]
    warnings: list[str]
    recipe: Recipe
    workspace: Workspace

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def make(folder: Path, tree: Tree, pki: Path | None, base: str | None = None, **keys: Any) -> Made:
    """Build an image in a new folder with an empty work directory."""
    if pki is not None:
        paths = [str(pki / name) for name in ("sign.pem", "intermediate.pem", "sign.key")]
        keys["sign"] = {"certificate": paths[0], "chain": [paths[1]], "key": {"file": paths[2]}}
    if base is not None:
        keys["storage"] = {"base": base}
    recipe = load_recipe(write_recipe(folder, tree, **keys))
    warnings: list[str] = []
    around = replace(workspace(folder), warn=warnings.append)
    done = run_steps(build_steps(recipe, around), time.monotonic, lambda _text: None)
    totals = build_report(BUILT, done)["totals"]
    return Made(folder / "image.zip", totals, warnings, recipe, around)


def is_valid(place: str | Path, root: Path) -> bool:
    """Return whether an image is valid, and signed by the signer of the tests."""
    with open_image(place) as image:
        policy = TrustPolicy(anchors=load_anchors([str(root / "pki/root-ca.pem")]))
        return verify(image, policy, NOW).ok
