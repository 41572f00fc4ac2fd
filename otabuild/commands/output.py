"""Output of commands: data on stdout, messages on stderr."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from otabuild import progress
from otabuild.colours import painted
from otabuild.errors import InputError, OtabuildError, printable, printable_json, printable_lines
from otabuild.format import limits
from otabuild.format.sizes import parse_size

if TYPE_CHECKING:
    from otabuild.image.bounds import Bounds
    from otabuild.image.image import Image, Payload

T = TypeVar("T")
_MINUTES = 120

Parsers = Any
"""argparse's subparsers object; its type has no public name."""
Options = Any
"""A parser or a group of its arguments; what both are has no public name."""


def emit(
    args: argparse.Namespace, value: Mapping[str, object], lines: Iterable[str], *, ok: bool = True
) -> None:
    """Print a result: one JSON document with --json, otherwise the lines.

    The document is an object, and its `ok` says whether the command succeeds, unless the value has
    one already. If images were opened by URL, the document also says how many requests that took,
    and how many bytes came.
    """
    progress.clear()
    if args.json:
        print(printable_json(_with_traffic(args, {"ok": ok, **value})))
    else:
        for line in lines:
            print(painted(printable_lines(line), sys.stdout))


def _with_traffic(args: argparse.Namespace, value: dict[str, object]) -> dict[str, object]:
    counts = [
        found for source in getattr(args, "sources", ()) if (found := source.traffic()) is not None
    ]
    if not counts:
        return value
    requests, size = map(sum, zip(*counts, strict=True))
    return {**value, "traffic": {"requests": requests, "bytes": size}}


def say(text: str) -> None:
    """Tell a person something that is not a result."""
    with progress.above():
        print(painted(printable_lines(text), sys.stderr), file=sys.stderr, flush=True)


def add_list(options: Options, name: str, **settings: Any) -> None:
    """Add an option that may be given several times; without it, its list is empty."""
    options.add_argument(name, action="append", default=[], **settings)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option of every command that prints data."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document on standard output"
    )


def add_image(
    parser: argparse.ArgumentParser, name: str = "image", which: str = "an image"
) -> None:
    """Add the argument of every command that reads an image."""
    parser.add_argument(
        name, metavar=name.upper(), help=f"{which}: an artifact (ZIP) or a directory, or its URL"
    )


def add_payload(parser: argparse.ArgumentParser, *, all_without: bool = False) -> None:
    """Add the options that select a payload; with `all_without`, naming no ECU means all.

    `chosen` reads them.
    """
    without = "; without it, all ECUs together" if all_without else " (required)"
    parser.add_argument("--ecu-id", metavar="ID", help=f"id of the ECU{without}")
    parser.add_argument(
        "--release-key",
        choices=("dev", "prd"),
        default="dev",
        help="release key of the payload; default: %(default)s",
    )


def chosen(args: argparse.Namespace, image: Image) -> Payload:
    """Return the payload that the options of `add_payload` select.

    Without an ECU, end with wrong usage, and name the payloads of the image.
    """
    if args.ecu_id is None:
        names = ", ".join(payload.name for payload in image.payloads) or "none"
        args.parser.error(
            printable(f"--ecu-id is required; ECU ids and release keys of {image.path}: {names}")
        )
    return image.payload(args.ecu_id, args.release_key)


def add_compat(parser: argparse.ArgumentParser) -> None:
    """Add the option to read images of early builders."""
    parser.add_argument(
        "--compat",
        action="store_true",
        help="also read images of the reference builder 0.3 to 0.10",
    )


def add_bounds(parser: argparse.ArgumentParser) -> None:
    """Add the options that bound what a command rebuilds from an image, whatever that declares."""
    group = parser.add_argument_group("bounds")
    group.add_argument(
        "--max-content",
        metavar="SIZE",
        type=option_type(parse_size),
        default=limits.REBUILT,
        help="read and make at most this for all contents together, such as 2TiB; default: 1TiB",
    )
    group.add_argument(
        "--max-minutes",
        metavar="N",
        type=number_of("minutes"),
        default=_MINUTES,
        help="end with an error when this is over; default: %(default)s",
    )


def number_of(unit: str) -> Callable[[str], int]:
    """Return the type of an option that is a whole number of a unit, such as days."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,6}", text):
            what = f"is not a number of {unit}"
            raise InputError(what, observed=text[:40], expected="0 to 999999")
        return int(text)

    return option_type(parse)


def bounds(args: argparse.Namespace) -> Bounds | None:
    """Return the bounds of a command with `add_bounds`, from now on; None for other commands."""
    from otabuild.image.bounds import Bounds

    if "max_content" not in args:
        return None
    end = time.monotonic() + 60 * args.max_minutes
    return Bounds(args.max_content, lambda: time.monotonic() > end)


@contextmanager
def opened(args: argparse.Namespace, path: str) -> Iterator[Image]:
    """Open an image for a command, and tell at the end what in it the format does not allow."""
    from otabuild.image.image import open_image

    with open_image(path, compat=getattr(args, "compat", False), bounds=bounds(args)) as image:
        args.sources = [*getattr(args, "sources", ()), image.source]
        yield image
        for note in image.compat.notes:
            say(printable(f"note: {path}: {note}"))


def option_type(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Adapt a parser of values for argparse: a refused value is reported as wrong usage."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except OtabuildError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def checked(parse: Callable[[str], object]) -> Callable[[str], str]:
    """Return a function that returns text unchanged if it can be parsed."""

    def check(text: str) -> str:
        parse(text)
        return text

    return check
