"""The output of `otabuild init`: a starter recipe, and the files of a product around it."""

from __future__ import annotations

import os
import shlex
from importlib import resources

DODO = '''"""OTA images; see `doit list`."""

from otabuild.tasks import *
'''
GITIGNORE = "/build/\n/dist/\n/pki/\n"


def starter_recipe(name: str, *, keep_owners: bool) -> str:
    """Return a commented recipe of this name, for a folder `recipes/` beside `rootfs/`, `pki/`.

    With `keep_owners`, files keep their owners; otherwise all belong to root.
    """
    template = resources.files(__package__ or "otabuild.recipe") / "starter.yaml"
    text = template.read_text("utf-8")
    if keep_owners:
        text = text.replace("    owner:", "    # owner:")
    return text.replace("@NAME@", name)


def next_steps(path: str, *, with_doit: bool) -> str:
    """Return the remaining steps until the starter recipe at this path builds."""
    rootfs, pki = _beside_recipes(path, "rootfs"), _beside_recipes(path, "pki")
    build = f"otabuild build {shlex.quote(path)}"
    return "\n".join(
        [
            "next:",
            f"  1. put a root file system into {rootfs}/",
            f"  2. otabuild pki demo {shlex.quote(pki)}",
            f"  3. {build}{', or doit build' if with_doit else ''}",
        ]
    )


def keeps_owners(path: str, *, euid: int) -> bool:
    """Return whether a starter recipe's tree here has a device's owners: whether `/` is root's.

    If the tree does not exist yet, the user who runs this will make it.
    """
    try:
        return os.stat(_beside_recipes(path, "rootfs")).st_uid == 0
    except OSError:
        return euid == 0


def _beside_recipes(path: str, name: str) -> str:
    return os.path.normpath(os.path.join(os.path.dirname(path), os.pardir, name))
