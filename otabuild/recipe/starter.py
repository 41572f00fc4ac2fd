"""A recipe to start from."""

from __future__ import annotations

from importlib import resources


def starter_recipe(name: str) -> str:
    """The text of a commented recipe of this name, for a folder `recipes/` beside `rootfs/` and `pki/`."""
    text = resources.files(__package__ or "otabuild.recipe").joinpath("starter.yaml").read_text("utf-8")
    return text.replace("@NAME@", name)
