"""offline: images for devices without a network."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from otabuild.commands.output import Parsers, add_compat, add_json, add_list, emit, opened
from otabuild.errors import InputError, printable
from otabuild.format.sizes import counted, human_size
from otabuild.progress import show_progress

if TYPE_CHECKING:
    from otabuild.image.image import Image


def add(parsers: Parsers) -> None:
    """Add the command of this module."""
    parsers.group("Release")
    offline = parsers.add_parser(
        "offline", help="write what devices without a network fetch, for a USB stick"
    )
    offline.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="images to update to, signed: artifacts (ZIP), directories or URLs",
    )
    offline.add_argument(
        "-o", "--output", metavar="DIR", required=True, help="the folder, such as that of the stick"
    )
    add_list(
        offline,
        "--base",
        metavar="IMAGE",
        help="an image that the devices run: what it has is left out; repeatable",
    )
    add_json(offline)
    add_compat(offline)
    offline.set_defaults(run=run_offline)


def run_offline(args: argparse.Namespace) -> int:
    """Write the folder."""
    from otabuild.releases.stick import write_stick

    with ExitStack() as stack:
        images: dict[str, Image] = {}
        for path in args.images:
            name = path.rstrip("/").rpartition("/")[2].removesuffix(".zip")
            if name in images:
                other = images[name].path
                raise InputError(
                    "two images of the same name",
                    where=path,
                    observed=other,
                    hint="rename one of them",
                )
            images[name] = stack.enter_context(opened(args, path))
        bases = [stack.enter_context(opened(args, path)) for path in args.base]
        stick = write_stick(images, args.output, bases, progress=partial(show_progress, "offline"))
    amount = f"{counted(stick.files, 'file')}, {human_size(stick.size)}"
    lines = [
        f"{stick.folder}/data: {amount}",
        *(f"{stick.folder}/releases/{name}" for name in stick.releases),
    ]
    emit(args, stick.to_value(), map(printable, lines))
    return 0
