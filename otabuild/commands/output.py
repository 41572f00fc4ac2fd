"""How commands speak: data on stdout, talk on stderr."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from otabuild.errors import OtabuildError

T = TypeVar("T")

Parsers = Any
"""argparse's subparsers object, whose type has no public name."""


def emit(args: argparse.Namespace, value: object, lines: Iterable[str]) -> None:
    """Print a result: one JSON document with --json, else the lines."""
    if args.json:
        print(json.dumps(value, ensure_ascii=False, indent=2))
    else:
        for line in lines:
            print(line)


def say(text: str) -> None:
    """Tell a person something that is no result."""
    print(text, file=sys.stderr, flush=True)


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option of every command that prints data."""
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")


def add_image(parser: argparse.ArgumentParser, name: str = "image") -> None:
    """The argument of every command that reads an image."""
    parser.add_argument(name, metavar=name.upper(), help="an image: an artifact (ZIP) or a directory")


def add_payload(parser: argparse.ArgumentParser) -> None:
    """The options that pick a payload."""
    parser.add_argument("--ecu-id", required=True, metavar="ID", help="id of the ECU")
    parser.add_argument(
        "--release-key", choices=("dev", "prd"), default="dev", help="release key of the payload; default: %(default)s"
    )


def option_type(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A parser of values as argparse wants it: one that refuses ends with wrong usage."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except OtabuildError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def checked(parse: Callable[[str], object]) -> Callable[[str], str]:
    """Takes text as it is, if it can be parsed."""

    def check(text: str) -> str:
        parse(text)
        return text

    return check
