"""What a recipe comes to: every key with its value, and where the value came from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from otabuild.format.times import EPOCH, utc
from otabuild.pipeline.settings import storage_plan
from otabuild.recipe.diagnose import Key, key_path
from otabuild.recipe.fields import Ids, Model, OciReference
from otabuild.recipe.model import Recipe


class Effective(NamedTuple):
    """A key such as `rootfs.main.owner`, its value as JSON, its origin: a line, or a default."""

    key: str
    value: Any
    origin: str


def effective(recipe: Recipe, environ: Mapping[str, str] = os.environ) -> Iterator[Effective]:
    """Yield every key that applies to a recipe, set or not, in the order of the reference.

    Paths are relative to the folder that the recipe was loaded for. Of a section that the recipe
    leaves out and that has no defaults, such as `sign`, only its name is yielded, with the value
    None.
    """
    for keys, value, documented in _leaves(recipe, ()):
        origin = _given(recipe, keys) or (f"default: {documented}" if documented else "default")
        if keys == ("timestamp",):
            yield Effective("timestamp", utc(value), _time_origin(origin, environ))
        elif (of_profile := _profiled(recipe, keys)) is not None and value is None:
            yield Effective(key_path(keys), of_profile, f"profile {recipe.storage.profile}")
        else:
            yield Effective(key_path(keys), _plain(keys, value), origin)


def _time_origin(origin: str, environ: Mapping[str, str]) -> str:
    if EPOCH in environ:
        return EPOCH
    return "default: commit" if origin == "default" else origin


def _profiled(recipe: Recipe, keys: tuple[Key, ...]) -> object:
    """Return what the storage profile decides about a key; None if nothing."""
    if keys[0] != "storage":
        return None
    return getattr(storage_plan(recipe.storage), str(keys[1]).replace("-", "_"), None)


def _leaves(
    value: object, keys: tuple[Key, ...], documented: str = ""
) -> Iterator[tuple[tuple[Key, ...], Any, str]]:
    """Yield key, value and documented default of all that is not a section or a list of them."""
    if isinstance(value, Model):
        for name, field in type(value).model_fields.items():
            if (alias := field.alias or name).isprintable():  # the file of a recipe is not a key
                default = re.search(r"default: (.+?)\.?$", field.description or "")
                yield from _leaves(
                    getattr(value, name), (*keys, alias), default[1] if default else ""
                )
        for alias, extra in (value.model_extra or {}).items():
            yield (*keys, alias), extra, ""
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _leaves(one, (*keys, name))
    elif isinstance(value, tuple) and any(isinstance(one, Model) for one in value):
        for number, one in enumerate(value):
            yield from _leaves(one, (*keys, number))
    else:
        yield keys, value, documented


def _given(recipe: Recipe, keys: tuple[Key, ...]) -> str:
    """Return the place of a value in the recipe, with its text as written, if it is there."""
    node, trail, name = recipe.tree.follow(keys)
    if [key for key in trail if isinstance(key, str)] != [
        key for key in keys if isinstance(key, str)
    ]:
        return ""  # numbers may be missing: one source needs no list
    place = f"{recipe.file}:{name.line}"
    return f"{place}, from {node.text}" if "${" in node.text else place


def _plain(keys: tuple[Key, ...], value: Any) -> Any:
    """Return a value as a recipe would write it."""
    if isinstance(value, Ids):
        return f"{value.uid}:{value.gid}"
    if isinstance(value, OciReference):
        if value.reference is None:
            return value.layout
        sign = "@" if value.reference.startswith("sha256:") else ":"
        return f"{value.layout}{sign}{value.reference}"
    return f"{value:04o}" if keys[-1] == "mode" and value is not None else value
