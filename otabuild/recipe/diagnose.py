"""Turns errors of the models into problems with a line, in the words of the recipe.

Known keys and descriptions come from the JSON Schema. Therefore they cannot contradict what the
models accept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from otabuild.errors import Finding, Place
from otabuild.format.strict_yaml import KINDS, YamlNode
from otabuild.recipe.schema import json_schema
from otabuild.recipe.suggest import did_you_mean, nearest

_DUE = {
    "string_type": "a string",
    "bool_type": "true or false, without quotes",
    "int_type": "a whole number, without quotes",
    "tuple_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
}
_SECRET = (("sign", "key"), ("sign", "passphrase"))
"""Places where somebody may have pasted a key or passphrase; messages never repeat these values."""
Key = str | int


def problems(errors: Iterable[Any], root: YamlNode, file: str) -> list[Finding]:
    """Return what pydantic found wrong in the values of a YAML tree, each with its place."""
    found, errors = [], list(errors)
    meant = _meant(errors, root)
    for error in errors:
        node, trail, name = root.follow(error["loc"])
        missing = error["type"] == "missing"
        if missing and (*trail, error["loc"][-1]) in meant:
            continue  # its mistyped name is a problem already
        if node.kind == "null" or (error["type"] == "too_short" and (node.items or node.pairs)):
            continue  # another check, or each entry, reports its own problem
        keys = [*trail, error["loc"][-1]] if missing else trail
        of_key = missing or error["type"] == "extra_forbidden" or error["loc"][-1:] == ("[key]",)
        spot = name if of_key else node
        facts = _missing(keys) if missing else _facts(error, node, root, trail)
        if tuple(keys[:2]) in _SECRET and node.text:
            facts = {
                "what": facts["what"],
                "expected": facts.get("expected"),
                "hint": _description(keys),
            }
        found.append(Finding(Place(file, spot.line, spot.column, key_path(keys)), **facts))
    return found


def _meant(errors: Iterable[Any], root: YamlNode) -> set[tuple[Key, ...]]:
    """Return the keys that were probably meant by unknown ones."""
    unknown = (
        root.follow(error["loc"])[1] for error in errors if error["type"] == "extra_forbidden"
    )
    return {
        (*trail[:-1], nearest(str(trail[-1]), _free_keys(root, trail)) or "") for trail in unknown
    }


def _free_keys(root: YamlNode, trail: Sequence[Key]) -> list[str]:
    """Return the keys that are possible in place of an unknown one."""
    present = root.follow(trail[:-1])[0]
    return [name for name in _known_keys(trail[:-1]) if present.get(name) is None]


def key_path(keys: Sequence[Key]) -> str:
    """Return keys as one text, such as `payloads[0].sys-config`."""
    text = ""
    for key in keys:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            quoted = key if re.fullmatch(r"[\w-]{1,200}", key) else f'"{_short(key)}"'
            text += f".{quoted}" if text else quoted
    return text


def _missing(keys: Sequence[Key]) -> dict[str, Any]:
    return {"what": "a required key is missing", "hint": _description(keys)}


def _description(keys: Sequence[Key]) -> str:
    return next(
        (str(schema["description"]) for schema in _schemas(keys) if "description" in schema), ""
    )


def _facts(error: Any, node: YamlNode, root: YamlNode, trail: Sequence[Key]) -> dict[str, Any]:
    """Return what is wrong, what was observed, what was expected, and a hint."""
    kind, context = error["type"], error.get("ctx", {})
    seen = str(trail[-1]) if error["loc"][-1:] == ("[key]",) else _short(node.text)
    if kind == "extra_forbidden":
        hint = did_you_mean(str(trail[-1]), _free_keys(root, trail))
        return {"what": "unknown key", "expected": ", ".join(_known_keys(trail[:-1])), "hint": hint}
    if kind == "value_error":
        cause = context["error"]
        if cause.what == "must be a string":  # only the node knows how YAML has read it
            return _due("a string", node, trail)
        return {
            "what": cause.what,
            "observed": cause.observed or seen or None,
            "expected": cause.expected,
            "hint": cause.hint,
        }
    if kind == "one_of":
        return _one_of(error["msg"], node, _known_keys(trail))
    return _due(_DUE[kind], node, trail) if kind in _DUE else _plain_facts(error, node, trail)


def _plain_facts(error: Any, node: YamlNode, trail: Sequence[Key]) -> dict[str, Any]:
    seen = _seen(node)
    if error["type"] == "literal_error":
        choices = str(error["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
        if seen == choices:
            return {"what": "must be a number, without quotes", "observed": f'"{seen}"'}
        hint = did_you_mean(seen, choices.split(", "))
        if list(trail) == ["recipe"]:
            hint = (
                f"this otabuild reads version {choices}; another version of it may read this recipe"
            )
        return {
            "what": "is not one of the choices",
            "observed": seen,
            "expected": choices,
            "hint": hint,
        }
    if error["type"] == "too_short":
        return {"what": "must contain at least one entry"}
    return {
        "what": error["msg"][:1].lower() + error["msg"][1:],
        "observed": seen,
        "hint": _description(trail),
    }


def _seen(node: YamlNode) -> str:
    return KINDS[node.kind] if node.kind in ("list", "mapping") else _short(node.text)


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


def _due(due: str, node: YamlNode, trail: Sequence[Key]) -> dict[str, Any]:
    if due == "a list":
        of = next(
            (f"{{{key}: {_short(node.text)}}}" for key in _known_keys([*trail, 0])),
            _short(node.text),
        )
        hint = f"write [{of}]" if node.text else "begin each entry with a dash"
        return {"what": f"must be {due}", "observed": _seen(node), "hint": hint}
    if due != "a string" or node.kind in ("list", "mapping"):
        keys = ", ".join(_known_keys(trail)) or None
        return {"what": f"must be {due}", "observed": _seen(node), "expected": keys}
    return {
        "what": f"must be a string, and YAML reads this as {KINDS[node.kind]}",
        "observed": _short(node.text),
        "hint": f'write it in quotes: "{_short(node.text)}"',
    }


def _one_of(what: str, node: YamlNode, known: Sequence[str]) -> dict[str, Any]:
    keys = [key.text for key, _ in node.pairs]
    hints = (did_you_mean(key, known) for key in keys if key not in known)
    return {
        "what": what,
        "observed": ", ".join(keys) or _seen(node),
        "hint": next(filter(None, hints), ""),
    }


def _known_keys(path: Sequence[Key]) -> list[str]:
    return list(
        dict.fromkeys(name for schema in _schemas(path) for name in schema.get("properties", {}))
    )


def _schemas(path: Sequence[Key]) -> list[dict[str, Any]]:
    """Return the parts of the JSON Schema that describe the value at a path."""
    whole = json_schema()
    found = _expanded([whole], whole)
    for part in path:
        below = []
        for schema in found:
            named = schema.get("properties", {}).get(part) or next(
                iter(schema.get("patternProperties", {}).values()), None
            )
            below.append(schema.get("items") if isinstance(part, int) else named)
        found = _expanded([schema for schema in below if isinstance(schema, dict)], whole)
    return found


def _expanded(schemas: list[dict[str, Any]], whole: dict[str, Any]) -> list[dict[str, Any]]:
    todo, found = list(schemas), []
    while todo:
        schema = todo.pop(0)
        found.append(schema)
        todo += [*schema.get("anyOf", []), *schema.get("oneOf", [])]
        if "$ref" in schema:
            todo.append(whole["$defs"][schema["$ref"].rpartition("/")[2]])
    return found
