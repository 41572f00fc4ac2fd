"""packages: what is installed in an image."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from otabuild.commands.output import Parsers, add_compat, add_image, add_json, emit, opened, say
from otabuild.errors import InputError, printable
from otabuild.format.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from otabuild.image.image import Image, Payload
    from otabuild.packages.installed import InstalledPackage
    from otabuild.packages.survey import Inventory

_FEW = 3


def add(parsers: Parsers) -> None:
    """Add the command."""
    parsers.group("Look")
    packages = parsers.add_parser(
        "packages", help="list the packages in an image, from the databases in its payloads"
    )
    add_image(packages)
    add_selection(packages)
    what = packages.add_mutually_exclusive_group()
    what.add_argument("--files", action="store_true", help="also list the files of each package")
    what.add_argument(
        "--owner",
        metavar="PATH",
        help="only the packages that this file belongs to; exit 1 without any",
    )
    what.add_argument(
        "--unpackaged", action="store_true", help="list the files that belong to no package instead"
    )
    add_json(packages)
    add_compat(packages)
    packages.set_defaults(run=run_packages)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that select payloads; without them, all."""
    parser.add_argument("--ecu-id", metavar="ID", help="only the payloads of this ECU")
    parser.add_argument(
        "--release-key", choices=("dev", "prd"), help="only the payloads of this release key"
    )


def selected(args: argparse.Namespace, image: Image) -> list[Payload]:
    """Return the payloads that the options select.

    Raises:
        InputError: there is none.
    """
    found = [
        payload
        for payload in image.payloads
        if args.ecu_id in (None, payload.ecu) and args.release_key in (None, payload.release_key)
    ]
    if not found:
        names = (
            ", ".join(payload.name for payload in image.payloads) or "an image that has a payload"
        )
        raise InputError("no such payload", where=args.image, observed=args.ecu_id, expected=names)
    return found


def run_packages(args: argparse.Namespace) -> int:
    """List packages, or files of no package."""
    from otabuild.packages.survey import read_inventories

    with opened(args, args.image) as image:
        found = list(read_inventories(selected(args, image)))
    listed = {payload.name: _listed(args, payload, inventory) for payload, inventory in found}
    values = [
        _value(args, payload, inventory, listed[payload.name]) for payload, inventory in found
    ]
    is_found = args.owner is None or any(listed.values())
    emit(args, {"payloads": values}, _lines(args, found, listed), ok=is_found)
    for note in dict.fromkeys(note.why for _, inventory in found for note in inventory.notes):
        say(printable(f"note: {note}"))
    if is_found:
        return 0
    say(printable(f"{args.owner}: belongs to no package"))
    return 1


def _listed(
    args: argparse.Namespace, payload: Payload, inventory: Inventory
) -> tuple[InstalledPackage, ...]:
    if args.owner is None:
        return inventory.packages
    try:
        return inventory.owners(args.owner)
    except InputError as error:
        raise error.at(payload.name) from None


def _value(
    args: argparse.Namespace,
    payload: Payload,
    inventory: Inventory,
    listed: Iterable[InstalledPackage],
) -> dict[str, object]:
    files = list(inventory.unpackaged) if args.unpackaged else len(inventory.unpackaged)
    return {
        "payload": payload.name,
        "distribution": dict(zip(("id", "version"), inventory.distribution, strict=True)),
        "kernels": list(inventory.kernels),
        "packages": [
            {**p.to_value(), **({"files": list(p.files)} if args.files else {})} for p in listed
        ],
        "unpackaged": files,
        "notes": [note.why for note in inventory.notes],
    }


def _lines(
    args: argparse.Namespace,
    found: list[tuple[Payload, Inventory]],
    listed: dict[str, tuple[InstalledPackage, ...]],
) -> Iterator[str]:
    """Yield the list of each payload; one with the same rootfs as another is not repeated."""
    told: dict[int, str] = {}
    for payload, inventory in found:
        twin = told.setdefault(id(inventory), payload.name)
        number = counted(len(inventory.packages), "package")
        head = f"{number}, {counted(len(inventory.unpackaged), 'file')} of no package"
        yield printable(
            f"payload {payload.name}: {head if twin == payload.name else f'the same as {twin}'}"
        )
        if twin == payload.name and args.unpackaged:
            yield from map(printable, inventory.unpackaged)
        elif twin == payload.name:
            for package in listed[payload.name]:
                yield printable(f"  {_line(package)}")
                yield from (printable(f"    {path}") for path in package.files if args.files)


def _line(package: InstalledPackage) -> str:
    """Describe a package on one line: what it is, what it was built from, and its licences."""
    source = f"{package.source} {package.source_version}".strip()
    is_own = source in ("", f"{package.name} {package.version}".strip())
    number = len(package.licenses)
    about = [
        package.architecture,
        "" if is_own else f"of {source}",
        f"part of {package.part_of}" if package.part_of else "",
        ", ".join(package.licenses) if number <= _FEW else f"{number} licenses",
    ]
    told = "; ".join(filter(None, about))
    return f"{package.type} {package.name} {package.version}" + (f"  ({told})" if told else "")
