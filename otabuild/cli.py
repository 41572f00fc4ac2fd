"""The command `otabuild`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from otabuild import progress, session
from otabuild.ci import annotated
from otabuild.colours import painted
from otabuild.commands.completion import answer
from otabuild.errors import InputError, OtabuildError, StorageError, printable_json, printable_lines
from otabuild.version import __version__

_MODULES = (
    *("build", "recipe", "image", "mount", "verify", "signing", "pki", "attest"),
    *("packages", "sbom", "release", "offline", "stores", "repro", "cache", "completion"),
)
_GROUPS = ("Build", "Look", "Verify and deploy", "Sign", "Release", "Maintenance")
_MEANT = {
    "ls -R": ("tree", "find", "files"),
    "build": ("make", "run", "create"),
    "cache": ("gc", "prune"),
    "deploy-image": ("deploy", "flash", "export"),
    "diff": ("compare",),
    "doit": ("doit",),
    "doit clean": ("clean", "distclean"),
    "extract": ("unpack", "unzip", "copy", "cp"),
    "init": ("new", "start"),
    "list-image": ("list", "info", "inspect", "payloads"),
    "pki demo": ("keygen", "gen-key", "certificates"),
    "publish": ("push", "upload"),
    "pull": ("download", "fetch"),
    "repro": ("reproduce", "reproducible"),
    "verify": ("check-image", "test", "validate"),
}
"""What people type who expect a command of another name."""
_UNDECIDED = 4
"""The exit code of a command that judges an image, if this host failed."""
_EXIT_CODES = (
    "Exit codes: 0 success, 1 an error or a failed check, 2 wrong usage, 4 this host failed during "
    "a verification, 130 or 143 interrupted."
)


class _Parser(argparse.ArgumentParser):
    """A parser that suggests similar commands, and takes options before and after arguments."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # From Python 3.14 on, argparse colours what goes to standard error if standard output is a
        # terminal.
        self.color = False
        self._mixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; find an argument that may be missing also behind an option.

        argparse alone cannot do the latter.
        """
        if self._mixing or not any(
            action.nargs == "?" for action in self._get_positional_actions()
        ):
            return super().parse_known_args(args, namespace)
        self._mixing = True  # what it calls leads here again
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False

    def error(self, message: str) -> NoReturn:
        """Exit with a usage error; one about a missing recipe or command says which there are."""
        known = _recipes() if message.endswith("required: RECIPE") else []
        if message.endswith(("required: COMMAND", "required: ACTION")):
            known = [name for action in self._actions for name in action.choices or ()]
        super().error(f"{message}; one of {', '.join(known)}" if known else message)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help and usage.

        argparse's own way hides that a disk is full, and shows arguments as they are.
        """
        progress.clear()
        (file or sys.stderr).write(printable_lines(message))
        (file or sys.stderr).flush()

    def _check_value(self, action: argparse.Action, value: str) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:  # noqa: SLF001  (argparse has no other way)
            raise argparse.ArgumentError(
                None, f"no such command: {value}{_meant(str(value), action.choices)}"
            )
        super()._check_value(action, value)


def _meant(word: str, commands: Iterable[str]) -> str:
    """Return what probably was meant by a command that does not exist, if anything."""
    from otabuild.recipe.suggest import did_you_mean  # noqa: PLC0415  (only needed after a typing error)

    known = {other: command for command, others in _MEANT.items() for other in others}
    near = f"did you mean `{known[word]}`?" if word in known else did_you_mean(word, commands)
    return near and f"; {near}"


def _recipes() -> list[str]:
    """Return the recipes of this project."""
    from otabuild.recipe.load import recipes_in  # noqa: PLC0415 -- takes a moment, and only an error needs it

    with suppress(OSError, OtabuildError):
        folder = session.load_settings().recipes
        return [os.path.join(folder, name) for name in recipes_in(folder)]
    return []


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="otabuild",
        description=(
            "Build, verify and deploy signed, reproducible over-the-air system "
            "images from YAML recipes."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"otabuild {__version__}", help="print the version"
    )
    common = _Parser(add_help=False)
    for group, dest in ((parser, "folders"), (common, "more_folders")):
        group.add_argument(
            "-C",
            action="append",
            dest=dest,
            metavar="DIR",
            default=argparse.SUPPRESS,
            help="first change to this folder; each -C is relative to the one before",
        )
        group.add_argument(
            "-d",
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show the traceback of an error",
        )
        group.add_argument(
            "-q",
            "--quiet",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show warnings and results only",
        )
    adder = _Parsers(
        parser.add_subparsers(title="commands", metavar="COMMAND", help="one of these:"), common
    )
    for name in _MODULES:
        importlib.import_module(f"otabuild.commands.{name}").add(adder)
    parser.epilog = f"{_listing(adder.groups)}\n\n{_EXIT_CODES}"
    return parser


def _listing(groups: dict[str, dict[str, str]]) -> str:
    """List the commands grouped by purpose."""
    blocks = [
        "\n".join([f"{group}:", *(f"  {name:<17}  {what}" for name, what in helps.items())])
        for group, helps in groups.items()
    ]
    return "\n\n".join(blocks)


class _Parsers:
    """Adds the common options, and the help line as description, to each command."""

    def __init__(self, parsers: argparse._SubParsersAction[_Parser], common: _Parser) -> None:
        self._parsers, self.common = parsers, common
        self.groups: dict[str, dict[str, str]] = {name: {} for name in _GROUPS}
        self._helps = self.groups[_GROUPS[0]]

    def group(self, name: str) -> None:
        """List the commands that are added next under this heading."""
        self._helps = self.groups[name]

    def add_parser(self, name: str, *, help: str) -> argparse.ArgumentParser:  # noqa: A002  (argparse's name)
        """See argparse."""
        self._helps[name] = help
        made = self._parsers.add_parser(
            name, description=f"{help[0].upper()}{help[1:]}.", parents=[self.common]
        )
        made.set_defaults(parser=made)
        return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    if arguments is None:  # else a caller in this process, which must not start again
        session.speak_utf8()
    session.open_streams()
    session.keep_own_access()
    session.handle_signals()
    args = argparse.Namespace()
    try:
        parser = make_parser()
        answer(parser)
        args, unknown = parser.parse_known_args(arguments)
        if "run" not in args:
            parser.print_help(sys.stderr)
            return 2
        if unknown:
            args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        if getattr(args, "quiet", False):
            progress.silence()
        for folder in (*getattr(args, "folders", ()), *getattr(args, "more_folders", ())):
            _enter(folder)
        code: int = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        with suppress(OSError):
            progress.clear()
            print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has closed it
        session.end_output()
        return 1
    except session.FAILURES as error:
        known = session.known(error)
        if known is None or getattr(args, "debug", False):
            raise
        _tell(known, args)
        is_undecided = getattr(args, "judges", False) and isinstance(known, StorageError)
        return _UNDECIDED if is_undecided else 1
    finally:
        progress.clear()
    return code


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise InputError(
            "cannot change to this folder", where=f"-C {folder}", observed=error.strerror
        ) from None


def _tell(error: OtabuildError, args: argparse.Namespace) -> None:
    with suppress(OSError):
        progress.clear()
        print(painted(annotated(session.render(error)), sys.stderr), file=sys.stderr)
        if getattr(args, "json", False) or getattr(args, "format", "") == "json":
            print(printable_json({"ok": False, "error": error.to_value()}))
    session.end_output()
