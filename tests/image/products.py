"""Small images made by the real builder, for the commands that compare two of them."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import yaml

from otabuild.pipeline.run import run_steps
from otabuild.pipeline.steps.graph import build_steps
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.load import load_recipe

NOW = 1_790_000_000
TIMESTAMP = "2026-01-01T00:00:00Z"
Tree = dict[str, Any]
"""Path to content (bytes), link target (str), `None` for a directory, or (content, mode)."""


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def update_pair(large: int) -> tuple[Tree, Tree]:
    """Return a tree and what an update makes of it; one file that stays has `large` bytes."""
    base: Tree = {
        **{f"etc/{n:03}": noise(n, 500) for n in range(60)},
        "usr/text": b"words " * 20_000,
        "usr/large": noise(1000, large),
        "usr/noise": noise(1001, 30_000),
        "tiny": b"t",
        "empty": b"",
    }
    changed: Tree = {
        "etc/007": noise(7007, 500),
        "etc/copy": noise(7007, 500),
        "usr/text": b"other words " * 10_000,
        "usr/noise": noise(1002, 30_000),
        "tiny": b"u",
    }
    return base, base | changed


def workspace(folder: Path) -> Workspace:
    return Workspace(now_ns=NOW * 10**9, work=str(folder / "work"), workers=1)


def make_tree(root: Path, tree: Tree) -> Path:
    """Make a tree; a path that starts with `=` is a hard link to the path in its value."""
    root.mkdir(parents=True)
    for name, value in tree.items():
        path = root / name.lstrip("=")
        path.parent.mkdir(parents=True, exist_ok=True)
        content, mode = value if isinstance(value, tuple) else (value, None)
        if name.startswith("="):
            os.link(root / content, path)
        elif content is None:
            path.mkdir(exist_ok=True)
        elif isinstance(content, str):
            path.symlink_to(content)
        else:
            path.write_bytes(content)
        if mode is not None:
            path.chmod(mode)
    return root


def write_recipe(folder: Path, tree: Tree, *, rootfs: dict[str, Any] | None = None, **keys: Any) -> Path:
    """Write a recipe for one payload, main/dev and main/prd, with its own tree; `keys` are keys of the recipe, None leaves out."""
    make_tree(folder / "rootfs", tree)
    recipe = {
        "recipe": 1,
        "output": "image.zip",
        "timestamp": TIMESTAMP,
        "rootfs": {
            "main": {
                "source": {"directory": "rootfs"},
                "base-image": "demo:1",
                "architecture": "x86_64",
                "owner": "0:0",
                "prepare": {"clean": "none", "resolv-conf": "keep"},
                **(rootfs or {}),
            }
        },
        "payloads": [{"ecu": "main", "rootfs": "main", "release-keys": ["dev", "prd"]}],
        **keys,
    }
    (folder / "recipe.yaml").write_text(
        yaml.safe_dump({key: value for key, value in recipe.items() if value is not None})
    )
    return folder / "recipe.yaml"


def build(folder: Path, tree: Tree, **options: Any) -> Path:
    """Build the image of `write_recipe`."""
    recipe = load_recipe(write_recipe(folder, tree, **options))
    run_steps(build_steps(recipe, workspace(folder)), time.monotonic, lambda _text: None)
    return folder / "image.zip"
