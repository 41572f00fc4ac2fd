"""The output of `otabuild init`: a starter recipe, and the files of a product around it."""

from __future__ import annotations

import os
import shlex
from importlib import resources

DODO = '''"""OTA images; see `doit list`."""

from otabuild.tasks import *
'''
GITIGNORE = "/build/\n/dist/\n/pki/\n"


def starter_recipe(name: str) -> str:
    """Return the text of a commented recipe of this name, for a folder `recipes/` beside `rootfs/` and `pki/`."""
    text = resources.files(__package__ or "otabuild.recipe").joinpath("starter.yaml").read_text("utf-8")
    return text.replace("@NAME@", name)


def next_steps(path: str, *, with_doit: bool) -> str:
    """Return the remaining steps until the starter recipe at this path builds."""
    product = os.path.join(os.path.dirname(path), os.pardir)
    rootfs, pki = (os.path.normpath(os.path.join(product, name)) for name in ("rootfs", "pki"))
    build = f"otabuild build {shlex.quote(path)}"
    return "\n".join(
        [
            "next:",
            f"  1. put a root file system into {rootfs}/",
            f"  2. otabuild pki demo {shlex.quote(pki)}",
            f"  3. {build}{', or doit build' if with_doit else ''}",
        ]
    )
