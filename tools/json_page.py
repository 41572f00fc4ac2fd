"""Generates the reference page about JSON output, from shapes that tests compare with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from otabuild.outputs.output_schema import COMMANDS, output_schema
from tools.reference_pages import WRITTEN, cell, kind

_HEAD = f"""\
# JSON output

{WRITTEN} With `--json`, a command prints one JSON object on standard output and nothing else there; messages and
progress go to standard error. These rules hold for every command:

- `ok` is true exactly if the [exit code](errors.md#exit-codes) is 0.
- A command that could do its work prints the object below, also if the answer is bad news and `ok` is false, such as
  findings of `verify`. A command that could not prints a [failure](#failureoutput). Wrong usage (exit code 2) prints no
  JSON.
- Sizes are in bytes. Times are ISO 8601 in UTC, except in annotations and labels, which are what the image contains.
- Keys are words with dashes. Those marked *optional* are left out where they mean nothing; all others are always there.
- New keys may come in any release. None is removed, renamed or changes its type or meaning without a new major version.
  Texts for people, such as `what`, `why`, `reasons` and `notes`, may be worded anew in any release.

`otabuild schema COMMAND` prints the [JSON Schema](https://json-schema.org/) of the output of a command, such as
`otabuild schema cache show`. Tests validate the output of every command with it. `cat`, `completion`, `help`, `sbom` and
`schema` print something else than results, and have no `--json`.
"""


def json_page() -> str:
    """Return the page: first every command, then the objects inside of what they print."""
    lines, parts = [_HEAD], dict[str, dict[str, Any]]()
    for command in COMMANDS:
        schema = output_schema(command)
        found = [choice["$ref"].rpartition("/")[2] for choice in schema["anyOf"][:-1]]
        lines.append(f"## {command}\n")
        for name in found:
            lines += _table(schema["$defs"][name])
        parts |= {name: part for name, part in schema["$defs"].items() if name not in found}
    lines.append("## Failures\n")
    lines += ["### FailureOutput\n", *_table(parts.pop("FailureOutput"))]
    lines.append("## Objects inside of others\n")
    for name, part in sorted(parts.items()):
        lines += [f"### {name}\n", *_table(part)]
    return "\n".join(lines)


def _table(shape: dict[str, Any]) -> Iterator[str]:
    yield f"{shape['description']}\n"
    yield "| key | value | meaning |\n|---|---|---|"
    for key, value in shape["properties"].items():
        optional = "" if key in shape.get("required", ()) else " *(optional)*"
        yield f"| `{key}`{optional} | {kind(value)} | {cell(value.get('description', ''))} |"
    yield ""
