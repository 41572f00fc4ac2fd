"""completion: a script for the shell, and the words that it asks for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from otabuild.commands.output import Parsers
from otabuild.errors import OtabuildError

if TYPE_CHECKING:
    from otabuild.image.image import Image

_LOAD_ZSH = (
    'if [ -n "${ZSH_VERSION-}" ] && ! whence compdef > /dev/null; then autoload -U compinit && '
    "compinit; fi\n"
)
_IMAGES = {"A", "B", "BASE", "IMAGE", "NEW", "OLD"}
_NO_FILES = {"CN", "COMMAND", "DAYS", "MINUTES", "RULE", "SIZE", "TIME", "WHERE", "sha256:HEX"}
"""Names of values for which no file stands."""


def add(parsers: Parsers) -> None:
    """Add the command."""
    parsers.group("Maintenance")
    completion = parsers.add_parser(
        "completion",
        help=(
            'print a script that completes commands, options and values: eval "$(otabuild '
            'completion)"'
        ),
    )
    completion.add_argument(
        "shell",
        nargs="?",
        choices=("bash", "zsh", "fish"),
        default="bash",
        help="for which shell; default: a script for bash and zsh",
    )
    completion.set_defaults(run=run_completion)


def run_completion(args: argparse.Namespace) -> int:
    """Print the script."""
    from argcomplete.shell_integration import shellcode

    script = shellcode(["otabuild"], shell="fish" if args.shell == "fish" else "bash")
    print(script if args.shell == "fish" else f"{_LOAD_ZSH}{script}")
    return 0


def answer(parser: argparse.ArgumentParser) -> None:
    """Answer the shell's question for the words that may follow, and exit; return if not asked."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        kind = argparse._SubParsersAction  # noqa: SLF001  (argparse has no other way)
        commands = next(action.choices for action in parser._actions if isinstance(action, kind))  # noqa: SLF001  (the same)
        for command in commands.values():
            for action in command._actions:  # noqa: SLF001  (the same)
                _set_completer(action, command, list(commands))
        argcomplete.autocomplete(parser)


def _set_completer(action: Any, command: Any, commands: list[str]) -> None:
    """Tell argcomplete which words fit an argument; without a completer, it offers files."""
    from argcomplete.completers import FilesCompleter, SuppressCompleter

    if not action.option_strings and action.nargs == "?":
        action.nargs = None  # else argparse takes it for missing as soon as an option comes first
    of_payload = any(other.dest == "ecu_id" for other in command._actions)  # noqa: SLF001  (the same)
    if action.dest == "ecu_id":
        action.completer = _ecu_ids
    elif action.dest == "path" and of_payload:
        action.completer = _paths
    elif action.metavar == "RULE":
        action.completer = _rules
    elif action.metavar == "RECIPE":
        action.completer = FilesCompleter(("yaml", "yml"))
    elif action.metavar in _IMAGES:
        action.completer = FilesCompleter(("zip",))
    elif command.prog.endswith((" help", " schema")) and action.metavar == "COMMAND":
        action.completer = lambda **_words: commands
    elif action.metavar in _NO_FILES:
        action.completer = SuppressCompleter()


def _rules(**_words: object) -> list[str]:
    import otabuild.lint.lint  # noqa: F401  (registers its rules)
    from otabuild.findings import rules_of

    return list(rules_of("lint"))


def _ecu_ids(parsed_args: argparse.Namespace, **_words: object) -> list[str]:
    # Nothing to offer is all that an error means here.
    with suppress(OtabuildError), _image(parsed_args) as image:
        return sorted({payload.ecu for payload in image.payloads})
    return []


def _paths(prefix: str, parsed_args: argparse.Namespace, **_words: object) -> Iterator[str]:
    """Yield the paths of a payload that begin like this; without an ECU, those of the first."""
    folder = prefix.rpartition("/")[0] + "/"
    with suppress(OtabuildError), _image(parsed_args) as image:
        payload = image.payloads[0]
        if parsed_args.ecu_id is not None:
            payload = image.payload(parsed_args.ecu_id, parsed_args.release_key)
        for entry in payload.ls(folder):
            yield f"{entry.path}/" if entry.is_directory else entry.path


def _image(words: argparse.Namespace) -> Image:
    from otabuild.image.image import open_image

    return open_image(words.image or words.image_option, compat=True)
