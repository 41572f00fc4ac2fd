"""The JSON Schema of recipes, for editors and for the reference."""

from __future__ import annotations

import functools
from typing import Any

from otabuild.recipe.model import Recipe

_TIME = {"type": "string", "minLength": 1, "default": "commit"}
_DERIVED = ("name", "timestamp")


@functools.cache
def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a recipe as written, before `${…}` is replaced."""
    schema = Recipe.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    time = schema["properties"]["timestamp"]
    time.pop("type")
    time.update(_TIME)
    schema["required"] = [key for key in schema["required"] if key not in (*_DERIVED, "output")]
    schema["anyOf"] = [{"required": ["output"]}, {"required": ["publish"]}]
    for model in (schema, *schema["$defs"].values()):
        for value in model.get("properties", {}).values():
            _drop_null(value)
            if isinstance(value.get("default"), dict):
                del value["default"]
    _allow_references(schema)
    return schema


def _allow_references(part: Any) -> None:
    """Allow `${…}`: a pattern applies to the replaced value, which is not known yet."""
    if isinstance(part, list):
        for value in part:
            _allow_references(value)
    elif isinstance(part, dict):
        for value in part.values():
            _allow_references(value)
        if isinstance(part.get("pattern"), str):
            part["pattern"] += r"|\$\{"


def _drop_null(value: dict[str, Any]) -> None:
    """Remove null: None in Python means that the key is absent, and null in the file is refused."""
    choices = [choice for choice in value.get("anyOf", []) if choice != {"type": "null"}]
    if "anyOf" not in value or len(choices) == len(value["anyOf"]):
        return
    value.pop("default", None)
    if len(choices) == 1:
        del value["anyOf"]
        value.update({**choices[0], "description": value["description"]})
    else:
        value["anyOf"] = choices
