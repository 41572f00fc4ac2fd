"""Generates the reference of commands from the parser: a page of the site, and the man page."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator

from otabuild.cli import make_parser
from otabuild.version import __version__

_HEAD = """\
# Commands

`make docs` writes this page. Every command also takes `-h`, `-q` (no progress), `-d` (the traceback of an error) and
`-C DIR` (change to this folder first, as in make and git).
Results go to standard output, messages to standard error. All commands use the same [exit codes](errors.md#exit-codes).
"""
_COMMON = {"help", "quiet", "debug", "folders", "more_folders"}


def commands_page() -> str:
    """Return the page of the site."""
    lines = [_HEAD]
    for name, command in named_commands(make_parser(), "otabuild"):
        lines.append(f"## {name}\n\n{command.description}\n")
        lines += [f"- `{_usage(action)}`: {_help(action)}" for action in _own(command)]
        lines.append("")
    return "\n".join(lines)


def man_page() -> str:
    """Return the man page, in the macros of man(7)."""
    parser = make_parser()
    exit_codes = (parser.epilog or "").rpartition("Exit codes: ")[2]
    lines = [
        f'.TH OTABUILD 1 "" "otabuild {__version__}" "User Commands"',
        *(".SH NAME", rf"otabuild \- {_roff((parser.description or '').rstrip('.'))}"),
        *(".SH SYNOPSIS", r"\fBotabuild\fR [\fIoptions\fR] \fIcommand\fR [\fIarguments\fR]"),
        *(
            ".SH DESCRIPTION",
            "Results go to standard output, messages and progress to standard error.",
        ),
        *(".SH OPTIONS", "Every command takes these, too, except the version:"),
        *_options(action for action in parser._actions if action.option_strings),  # noqa: SLF001  (argparse has no other way)
        ".SH COMMANDS",
    ]
    for name, command in named_commands(parser, "otabuild"):
        lines += [f".SS {_roff(name)}", _roff(command.description or ""), *_options(_own(command))]
    lines += [".SH EXIT STATUS", _roff(exit_codes.strip())]
    lines += [".SH SEE ALSO", r"\fBdoit\fR(1), which runs the same steps as tasks"]
    return "\n".join([*lines, ""])


def _options(actions: Iterator[argparse.Action]) -> Iterator[str]:
    for action in actions:
        yield f".TP\n\\fB{_roff(_usage(action))}\\fR\n{_roff(_help(action))}"


def _roff(text: str) -> str:
    """Return text as lines of a man page; `code` becomes bold."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    escaped = re.sub("`([^`]+)`", r"\\fB\1\\fR", escaped)
    escaped = "".join(sign if sign.isascii() else rf"\[u{ord(sign):04X}]" for sign in escaped)
    lines = textwrap.wrap(escaped, 79, break_long_words=False, break_on_hyphens=False)
    # A dot begins a macro.
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in lines)


def named_commands(
    parser: argparse.ArgumentParser, name: str
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the commands of a parser by their full names; a group such as `pki` is none."""
    kind = argparse._SubParsersAction  # noqa: SLF001  (the same)
    groups = [action for action in parser._actions if isinstance(action, kind)]  # noqa: SLF001  (the same)
    if not groups:
        yield name, parser
    for word, command in groups[0].choices.items() if groups else ():
        yield from named_commands(command, f"{name} {word}")


def _own(command: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a command that not every command has."""
    for action in command._actions:  # noqa: SLF001  (the same)
        if action.dest not in _COMMON and action.help != argparse.SUPPRESS:
            yield action


def _usage(action: argparse.Action) -> str:
    value = action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper()
    if not action.option_strings:
        return str(value)
    return ", ".join(
        option if action.nargs == 0 else f"{option} {value}" for option in action.option_strings
    )


def _help(action: argparse.Action) -> str:
    text = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
    return text + (" (required)" if action.required and action.option_strings else "")
