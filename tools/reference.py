"""Write the pages of the reference that the code itself knows: commands, recipe keys, errors, rules, JSON Schema."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from otabuild.cli import make_parser
from otabuild.recipe.schema import json_schema
from tools.reference_pages import errors_page, recipe_page, rules_page

_HEAD = """\
# Commands

Written by `make docs`. Every command also takes `-h`, `-q` (no progress) and `-d` (the traceback of an error). Data goes
to standard output, talk to standard error. [Exit codes](errors.md#exit-codes) are the same everywhere.
"""
_COMMON = {"help", "quiet", "debug"}


def pages() -> dict[str, str]:
    """The pages by name."""
    schema = json.dumps(json_schema(), ensure_ascii=False, indent=2)
    return {
        "commands.md": "\n".join([_HEAD, *_commands()]),
        "errors.md": errors_page(),
        "recipe.md": recipe_page(),
        "recipe.schema.json": f"{schema}\n",
        "rules.md": rules_page(),
    }


def _commands() -> Iterator[str]:
    parser = make_parser()
    groups = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001  (argparse has no other way)
    for name, command in groups.choices.items():
        yield f"## otabuild {name}\n\n{command.description}\n"
        for action in command._actions:  # noqa: SLF001  (the same)
            if action.dest not in _COMMON and action.help != argparse.SUPPRESS:
                yield f"- `{_usage(action)}`: {_help(action)}"
        yield ""


def _usage(action: argparse.Action) -> str:
    if not action.option_strings:
        return str(action.metavar or action.dest.upper())
    value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    return ", ".join(f"{option}{value}" for option in action.option_strings)


def _help(action: argparse.Action) -> str:
    text = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
    return text + (" (required)" if action.required and action.option_strings else "")


def main(folder: Path) -> None:
    """Write the pages to a folder."""
    for name, content in pages().items():
        (folder / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
