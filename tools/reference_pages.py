"""The pages of the reference about recipes, errors and rules: what the code says about itself, as Markdown."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import otabuild.image.verify  # noqa: F401  (registers the rules)
from otabuild import errors
from otabuild.image.findings import RULES as VERIFY_RULES
from otabuild.image.lint import RULES as LINT_RULES
from otabuild.recipe.schema import json_schema

_WRITTEN = "Written by `make docs`."
_EXIT_CODES = """\
## Exit codes

| code | meaning |
|---|---|
| 0 | done, and good |
| 1 | an error or a failed check: one message, no traceback; the same under doit |
| 2 | wrong usage of `otabuild` |
| 3 | doit's own refusals: unknown task, no recipes |
| 130, 143 | interrupted by SIGINT, by SIGTERM; nothing half-written stays |
"""


def recipe_page() -> str:
    """Every key of a recipe, from the models."""
    schema = json_schema()
    lines = [
        "# Recipe keys\n",
        (
            f"{_WRITTEN} Paths are relative to the recipe. Text may hold `${{env:NAME}}`, `${{env:NAME:-default}}`, "
            "`${git:commit}`, `${git:branch}`, `${git:describe}` and `${date}`. An unknown key is an error. Editors take "
            "the [JSON Schema](recipe.schema.json), which `otabuild schema` prints, too.\n"
        ),
    ]
    lines += _model("A recipe", schema)
    for name, model in _in_order(schema):
        lines += _model(name, model)
    return "\n".join(lines)


def _in_order(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The models below a recipe, in the order in which the keys lead to them."""
    seen: dict[str, None] = {}
    waiting = list(_references(schema["properties"]))
    while waiting:
        name = waiting.pop(0)
        if name not in seen:
            seen[name] = None
            waiting[:0] = _references(schema["$defs"][name].get("properties", {}))
    for name in seen:
        yield name, schema["$defs"][name]


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"].rpartition("/")[2]
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def _model(name: str, model: dict[str, Any]) -> Iterator[str]:
    yield f"## {name}\n"
    if name in json_schema()["$defs"]:
        yield f"{model['description']}\n"
    yield "| key | value | default | meaning |\n|---|---|---|---|"
    for key, value in model["properties"].items():
        default = "**required**" if key in model.get("required", ()) else _default(value)
        meaning = value.get("description") or _described(value)
        yield f"| `{key}` | {_kind(value)} | {default} | {_cell(meaning)} |"
    yield ""


def _described(value: dict[str, Any]) -> str:
    names = list(_references(value))
    return str(json_schema()["$defs"][names[0]]["description"]) if names else ""


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default is None or default in ("", []):
        return ""
    shown = ", ".join(map(str, default)) if isinstance(default, list) else str(default)
    return f"`{shown.lower() if isinstance(default, bool) else shown}`"


def _kind(value: dict[str, Any]) -> str:
    """What may stand behind a key, for people."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in value or "enum" in value:
        return " or ".join(f"`{choice}`" for choice in value.get("enum", [value.get("const")]))
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_kind(choice) for choice in value["anyOf"]))
    if value.get("type") == "array":
        return f"list of {_kind(value['items'])}" if "items" in value else "list"
    if value.get("type") == "object":
        parts = list(value.get("patternProperties", {}).values())
        return f"mapping of name to {_kind(parts[0])}" if parts else "mapping"
    return {"string": "text", "integer": "number", "boolean": "`true` or `false`"}.get(value.get("type", ""), "text")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def errors_page() -> str:
    """Exit codes, and every class of error."""
    classes = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, Exception)]
    lines = [
        f"# Errors and exit codes\n\n{_WRITTEN}\n",
        _EXIT_CODES,
        "## Errors\n",
        (
            "Whatever a user can cause or mend is an `otabuild.OtabuildError`. It has `what`, `where`, `observed`, "
            "`expected` and `hint`; any other exception is a bug. All are in `otabuild.errors`.\n"
        ),
        "| class | is a | meaning |\n|---|---|---|",
    ]
    for found in sorted(classes, key=lambda found: inspect.getsourcelines(found)[1]):
        meaning = _cell((inspect.getdoc(found) or "").partition("\n\n")[0])
        lines.append(f"| `{found.__name__}` | `{found.__bases__[0].__name__}` | {meaning} |")
    return "\n".join([*lines, ""])


def rules_page() -> str:
    """The rules of verify and of lint."""
    lines = [
        f"# Rules\n\n{_WRITTEN}\n\n## Rules of verify\n",
        (
            "`otabuild verify` names the rule of each finding in brackets. An error makes the image bad; a note does not, "
            "unless `--strict` is given. Besides these, findings of the rules `signature` and `blob` tell of a signature or a "
            "stored blob that does not hold. Sections are those of the format.\n"
        ),
        "| rule | severity | demands |\n|---|---|---|",
    ]
    rules = sorted(VERIFY_RULES.values(), key=lambda rule: rule.id)
    lines += [f"| `{rule.id}` | {rule.severity} | {_cell(rule.doc)} |" for rule in rules]
    lines += [
        "\n## Rules of lint\n",
        "`otabuild lint` finds what will bite on the device although the image is good. `--ignore RULE` silences one.\n",
        "| rule | why | what to do |\n|---|---|---|",
    ]
    lines += [f"| `{id_}` | {_cell(rule.reason)} | {_cell(rule.hint)} |" for id_, rule in LINT_RULES.items()]
    return "\n".join([*lines, ""])
