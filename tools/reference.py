"""Write the reference pages that are generated from the code: commands, recipe keys, errors, rules, JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from otabuild.cli import make_parser
from otabuild.recipe.schema import json_schema
from tools.json_page import json_page
from tools.reference_pages import errors_page, recipe_page, rules_page

_HEAD = """\
# Commands

`make docs` writes this page. Every command also takes `-h`, `-q` (no progress), `-d` (the traceback of an error) and
`-C DIR` (change to this folder first, as in make and git).
Results go to standard output, messages to standard error. All commands use the same [exit codes](errors.md#exit-codes).
"""
_COMMON = {"help", "quiet", "debug", "folders", "more_folders"}


def pages() -> dict[str, str]:
    """Return the pages by name."""
    schema = json.dumps(json_schema(), ensure_ascii=False, indent=2)
    return {
        "commands.md": "\n".join([_HEAD, *_commands()]),
        "errors.md": errors_page(),
        "json.md": json_page(),
        "recipe.md": recipe_page(),
        "recipe.schema.json": f"{schema}\n",
        "rules.md": rules_page(),
    }


def _commands() -> Iterator[str]:
    for name, command in named_commands(make_parser(), "otabuild"):
        yield f"## {name}\n\n{command.description}\n"
        yield from (
            f"- `{_usage(action)}`: {_help(action)}"
            for action in command._actions  # noqa: SLF001  (argparse has no other way)
            if action.dest not in _COMMON and action.help != argparse.SUPPRESS
        )
        yield ""


def named_commands(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the commands of a parser by their full names; a group such as `pki` is not itself a command."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001  (the same)
    if not groups:
        yield name, parser
    for word, command in groups[0].choices.items() if groups else ():
        yield from named_commands(command, f"{name} {word}")


def _usage(action: argparse.Action) -> str:
    value = action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper()
    if not action.option_strings:
        return str(value)
    return ", ".join(option if action.nargs == 0 else f"{option} {value}" for option in action.option_strings)


def _help(action: argparse.Action) -> str:
    text = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
    return text + (" (required)" if action.required and action.option_strings else "")


def main(folder: Path) -> None:
    """Write the pages to a folder."""
    for name, content in pages().items():
        (folder / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
