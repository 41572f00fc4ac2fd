"""Generates the reference pages about recipes, errors and rules, from the code itself."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any

import otabuild.lint.lint
import otabuild.recipe.checks
import otabuild.signing.chain
import otabuild.verification.verify  # noqa: F401  (these register the rules)
from otabuild import errors
from otabuild.assembly.plan import PROFILES, StoragePlan
from otabuild.findings import rules_of
from otabuild.format.sizes import human_size
from otabuild.recipe.schema import json_schema

WRITTEN = "`make docs` writes this page."
"""What every page here says of itself."""
_EXIT_CODES = """\
## Exit codes

| code | meaning |
|---|---|
| 0 | success |
| 1 | an error or a failed check: one message, no traceback; the same under doit |
| 2 | wrong usage of `otabuild` |
| 3 | doit refused to run: unknown task, no recipes |
| 4 | `verify`, `verify-sign` and `verify-resources` could not decide, because this host failed (no space for temporary files, no memory, a disk that cannot be read): the image may be valid or not |
| 130, 143 | interrupted by SIGINT or SIGTERM; no partial file is left behind |
"""


def recipe_page() -> str:
    """Return the page with every key of a recipe, from the models."""
    schema = json_schema()
    lines = [
        "# Recipe keys\n",
        (
            f"{WRITTEN} Paths are relative to the recipe. Text may contain `${{env:NAME}}`, "
            f"`${{env:NAME:-default}}`, "
            "`${git:commit}`, `${git:branch}`, `${git:describe}` and `${date}`. An unknown key is "
            "an error. For editors "
            "there is the [JSON Schema](recipe.schema.json); `otabuild schema` prints it.\n"
        ),
    ]
    lines += _model("A recipe", schema)
    for name, model in _in_order(schema):
        lines += _model(name, model)
        if name == "StorageRecipe":
            lines += _profiles()
    return "\n".join(lines)


def _in_order(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the models below a recipe, in the order in which the keys lead to them."""
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
        yield f"| `{key}` | {kind(value)} | {default} | {cell(meaning)} |"
    yield ""


def _profiles() -> Iterator[str]:
    """Yield the numbers of each storage profile."""
    yield "The profiles set these numbers. The first four can be overridden by their keys.\n"
    yield (
        f"| number | {' | '.join(f'`{name}`' for name in PROFILES)} "
        f"|\n|---|{'---|' * len(PROFILES)}"
    )
    for number, show in _NUMBERS.items():
        yield f"| {number} | {' | '.join(show(plan) for plan in PROFILES.values())} |"
    yield ""


_NUMBERS: dict[str, Callable[[StoragePlan], str]] = {
    "`bundle-member-max`": lambda plan: human_size(plan.bundle_member_max),
    "`bundle-size`": lambda plan: human_size(plan.bundle_size),
    "`bundle-level`": lambda plan: str(plan.bundle_level),
    "`compress-level`": lambda plan: str(plan.compress_level),
    "largest bundle (grows with `bundle-size`)": lambda plan: human_size(plan.bundle_max),
    "share of directories that begin a bundle": lambda plan: f"{plan.folder_share:.3g}",
    "bundles end where a hash of the name says so": lambda plan: (
        "yes" if plan.cut_by_name else "no, only when full"
    ),
    "largest content stored uncompressed without a try": lambda plan: human_size(plan.compress_min),
    "smallest ratio (content / frame) at which a frame is kept": lambda plan: str(
        plan.compress_ratio
    ),
}


def _described(value: dict[str, Any]) -> str:
    names = list(_references(value))
    return str(json_schema()["$defs"][names[0]]["description"]) if names else ""


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default is None or default in ("", []):
        return ""
    shown = ", ".join(map(str, default)) if isinstance(default, list) else str(default)
    return f"`{shown.lower() if isinstance(default, bool) else shown}`"


def kind(value: dict[str, Any]) -> str:
    """Describe a value for people, by its JSON Schema."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in value or "enum" in value:
        choices = value.get("enum", [value.get("const")])
        return " or ".join(
            f"`{choice if isinstance(choice, str) else json.dumps(choice)}`" for choice in choices
        )
    if choices := value.get("anyOf") or value.get("oneOf"):
        return _either([kind(choice) for choice in choices])
    if value.get("type") == "array":
        return f"list of {kind(value['items'])}" if "items" in value else "list"
    if value.get("type") == "object":
        parts = [*value.get("patternProperties", {}).values(), value.get("additionalProperties")]
        return f"mapping of name to {kind(parts[0])}" if isinstance(parts[0], dict) else "mapping"
    names = {
        "string": "text",
        "integer": "number",
        "number": "number",
        "boolean": "`true` or `false`",
        "null": "null",
        "": "any",
    }
    found = names.get(value.get("type", ""), "text")
    return f"{found} ({value['unit']})" if "unit" in value else found


def _either(kinds: list[str]) -> str:
    if kinds[1:] == [f"list of {kinds[0]}"]:
        return f"{kinds[0]}; or a list of these"
    return " or ".join(dict.fromkeys(kinds))


def cell(text: str) -> str:
    """Return text on one line, fit for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def errors_page() -> str:
    """Return the page of exit codes and all classes of errors."""
    classes = [
        found
        for _, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, Exception)
    ]
    lines = [
        f"# Errors and exit codes\n\n{WRITTEN}\n",
        _EXIT_CODES,
        "## Errors\n",
        (
            "Every error that a user can cause or fix is an `otabuild.OtabuildError`, with `what`, "
            "`where`, `observed`, "
            "`expected` and `hint`. Any other exception is a bug. All classes are in "
            "`otabuild.errors`.\n"
        ),
        "| class | is a | meaning |\n|---|---|---|",
    ]
    for found in sorted(classes, key=lambda found: inspect.getsourcelines(found)[1]):
        meaning = cell((inspect.getdoc(found) or "").partition("\n\n")[0])
        lines.append(f"| `{found.__name__}` | `{found.__bases__[0].__name__}` | {meaning} |")
    return "\n".join([*lines, ""])


def _notes() -> str:
    return ", ".join(
        f"`{id_}`" for id_, rule in rules_of("lint").items() if rule.severity == "note"
    )


def rules_page() -> str:
    """Return the page of all rules."""
    lines = [
        f"# Rules\n\n{WRITTEN}\n\n## Rules of verify\n",
        (
            "`otabuild verify` prints the rule of each finding in brackets. An error fails the "
            "verification. A note does "
            "not, unless you pass `--strict`. Two more rules are not in the table: `signature` "
            "reports a signature that is "
            "not valid, and `blob` reports a stored blob that is damaged. Section numbers are "
            "those of the"
            " [format](format.md).\n"
        ),
        "| rule | severity | demands |\n|---|---|---|",
    ]
    rules = sorted(rules_of("verify").values(), key=lambda rule: rule.id)
    lines += [f"| `{rule.id}` | {rule.severity} | {cell(rule.doc)} |" for rule in rules]
    lines += [
        "\n## Rules of lint\n",
        (
            "`otabuild lint` finds what causes trouble on devices although the image is valid. "
            "`--ignore RULE` silences a rule. "
            f"Findings of {_notes()} are notes: they fail with `--strict` only.\n"
        ),
        "| rule | why | what to do |\n|---|---|---|",
    ]
    lines += [
        f"| `{id_}` | {cell(rule.doc)} | {cell(rule.hint)} |"
        for id_, rule in rules_of("lint").items()
    ]
    lines += [
        "\n## Rules of certificate chains\n",
        (
            "The preflight of a build and `verify-sign` stop at the first that is broken; `verify` "
            "reports all of them as "
            "`signature`. Whether the chain ends at a trusted root is checked after these.\n"
        ),
        "| rule | demands |\n|---|---|",
    ]
    lines += [f"| `{id_}` | {cell(rule.doc)} |" for id_, rule in rules_of("chain").items()]
    lines += [
        "\n## Rules of recipes\n",
        (
            "These are about several keys of a recipe; [Recipe keys](recipe.md) tells what each "
            "key accepts. Every one that "
            "is broken is reported.\n"
        ),
        "| rule | demands |\n|---|---|",
    ]
    lines += [f"| `{id_}` | {cell(rule.doc)} |" for id_, rule in rules_of("recipe").items()]
    return "\n".join([*lines, ""])
