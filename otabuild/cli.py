"""The command `otabuild`."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence

from otabuild import progress, session
from otabuild.errors import OtabuildError

_GROUPS = ("build", "image", "verify", "signing", "release", "repro", "cache", "completion")


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="otabuild",
        description="Build, verify and deploy signed, reproducible over-the-air system images from YAML recipes.",
        epilog="Exit codes: 0 success, 1 an error or a failed check, 2 wrong usage, 130 interrupted.",
    )
    common = argparse.ArgumentParser(add_help=False)
    for group in (parser, common):
        group.add_argument(
            "-d", "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
        )
        group.add_argument("-q", "--quiet", action="store_true", default=argparse.SUPPRESS, help="show no progress")
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in _GROUPS:
        importlib.import_module(f"otabuild.commands.{name}").add(_Parsers(parsers, common))
    return parser


class _Parsers:
    """Adds the common options, and the help line as description, to each command."""

    def __init__(
        self, parsers: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
    ) -> None:
        self._parsers, self._common = parsers, common

    def add_parser(self, name: str, *, help: str, **options: str) -> argparse.ArgumentParser:  # noqa: A002  (argparse's name)
        """See argparse."""
        description = options.pop("description", f"{help[0].upper()}{help[1:]}.")
        return self._parsers.add_parser(name, help=help, description=description, parents=[self._common])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    args = make_parser().parse_args(arguments)
    if getattr(args, "quiet", False):
        progress.silence()
    session.handle_signals()
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except OtabuildError as error:
        if getattr(args, "debug", False):
            raise
        progress.clear()
        print(session.render(error), file=sys.stderr)
        if getattr(args, "json", False) or getattr(args, "format", "") == "json":
            print(json.dumps({"ok": False, "error": error.to_value()}, ensure_ascii=False, indent=2))
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who read our output has seen enough; keep Python from telling so at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code
