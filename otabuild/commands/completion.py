"""completion: a script for the shell, made from the parser itself."""

from __future__ import annotations

import argparse
import shlex

from otabuild.commands.output import Parsers

_SCRIPT = """\
# Completion of otabuild: eval "$(otabuild completion)"; in zsh run `autoload -U bashcompinit && bashcompinit` before.
_otabuild() {{
  local command="" word words
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case $word in -*) ;; *) command=$word; break ;; esac
  done
  case $command in
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _otabuild otabuild
"""


def add(parsers: Parsers) -> None:
    """Add the command."""
    completion = parsers.add_parser(
        "completion", help='print a script that completes commands and options: eval "$(otabuild completion)"'
    )
    completion.set_defaults(run=run_completion)


def run_completion(_args: argparse.Namespace) -> int:
    """Print the script."""
    from otabuild.cli import make_parser

    print(completion_script(make_parser()), end="")
    return 0


def completion_script(parser: argparse.ArgumentParser) -> str:
    """Return a script for bash, and for zsh with bashcompinit; if no word fits, the shell completes file names."""
    commands = {"": parser, **next(filter(None, map(_commands, parser._actions)))}  # noqa: SLF001  (argparse has no other way)
    cases = [
        f"    {shlex.quote(name)}) words={shlex.quote(' '.join(_words(command)))} ;;"
        for name, command in commands.items()
    ]
    return _SCRIPT.format(cases="\n".join(cases))


def _commands(action: argparse.Action) -> dict[str, argparse.ArgumentParser] | None:
    return dict(action.choices) if isinstance(action, argparse._SubParsersAction) else None  # noqa: SLF001  (the same)


def _words(parser: argparse.ArgumentParser) -> list[str]:
    """Return the options of a parser, and the choices of its arguments."""
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]  # noqa: SLF001  (the same)
    return [word for action in shown for word in (*action.option_strings, *(action.choices or ()))]
