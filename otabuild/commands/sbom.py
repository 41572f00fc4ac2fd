"""sbom: the bill of materials of an image."""

from __future__ import annotations

import argparse
import sys

from otabuild.commands.output import Parsers, add_compat, add_image, opened, say
from otabuild.commands.packages import add_selection, selected
from otabuild.errors import printable


def add(parsers: Parsers) -> None:
    """Add the command."""
    parsers.group("Look")
    sbom = parsers.add_parser(
        "sbom", help="write the bill of materials of an image (needs the extra `sbom`)"
    )
    add_image(sbom)
    add_selection(sbom)
    sbom.add_argument(
        "--format", choices=("cyclonedx",), default="cyclonedx", help="its form: CycloneDX 1.6 JSON"
    )
    sbom.add_argument(
        "--unpackaged", action="store_true", help="also list the files that belong to no package"
    )
    sbom.add_argument(
        "--vex", metavar="FILE", help="check that this VEX document is about components of it"
    )
    sbom.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write it to this file, and the VEX document beside it; default: print it",
    )
    add_compat(sbom)
    sbom.set_defaults(run=run_sbom)


def run_sbom(args: argparse.Namespace) -> int:
    """Print or write the document."""
    from otabuild.packages.survey import read_inventories
    from otabuild.sbom.libraries import check_libraries
    from otabuild.storage.beside import vex_beside
    from otabuild.storage.files import read_file, write_file

    check_libraries()
    from otabuild.sbom.cyclonedx import make_sbom
    from otabuild.sbom.vex import LIMIT, check_vex

    vex = read_file(args.vex, LIMIT) if args.vex else b""
    with opened(args, args.image) as image:
        for path in (args.output, vex_beside(args.output)) if args.output else ():
            image.source.check_apart(path)
        contents = list(read_inventories(selected(args, image)))
        raw = make_sbom(image, contents, unpackaged=args.unpackaged)
    for note in dict.fromkeys(note.why for _, inventory in contents for note in inventory.notes):
        say(printable(f"note: {note}"))
    if args.vex:
        check_vex(vex, args.vex, raw)
    if args.output is None:
        sys.stdout.write(raw.decode())
        return 0
    documents = {args.output: raw} | ({vex_beside(args.output): vex} if args.vex else {})
    for path, document in documents.items():
        write_file(path, document)
        print(path)
    return 0
