"""publish, pull, and store list, show, verify, withdraw, prune: releases in a store."""

from __future__ import annotations

import argparse
import getpass
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import TYPE_CHECKING

from otabuild import session
from otabuild.commands.output import (
    Parsers,
    add_image,
    add_json,
    add_list,
    checked,
    emit,
    opened,
    option_type,
    say,
)
from otabuild.format.sizes import counted, human_size
from otabuild.format.times import DAY, parse_time, utc
from otabuild.progress import fitted, show_progress, tell

if TYPE_CHECKING:
    from otabuild.releases.check_store import CheckedStore
    from otabuild.releases.listing import Listed, Needs
    from otabuild.releases.prune import Pruned
    from otabuild.stores.store import Store


def add(parsers: Parsers) -> None:
    """Add the commands of this module."""
    parsers.group("Release")
    publish = parsers.add_parser(
        "publish", help="verify an image, and publish it as a release in a store"
    )
    publish.add_argument(
        "image",
        metavar="IMAGE|RECIPE",
        help="an artifact, an image directory, or the recipe of an image, built first",
    )
    _add_store(publish, nargs="?", default="; default: as the recipe says")
    publish.add_argument(
        "--name",
        metavar="NAME",
        type=option_type(checked(_check_name)),
        help="the name of the release; default: as the recipe says, or the version in index.json",
    )
    publish.add_argument(
        "--unsigned", action="store_true", help="also publish an image that is not signed"
    )
    publish.add_argument(
        "--wait", action="store_true", help="wait while somebody is pruning the store"
    )
    add_json(publish)
    publish.set_defaults(run=run_publish)

    pull = parsers.add_parser(
        "pull", help="write a release of a store as an artifact or a directory"
    )
    add_image(pull)
    pull.add_argument(
        "-o",
        "--output",
        metavar="FILE|DIR/",
        required=True,
        help="an artifact; a directory, if it ends in a slash",
    )
    add_json(pull)
    pull.set_defaults(run=run_pull)
    _add_group(parsers)


def _add_group(parsers: Parsers) -> None:
    group = parsers.add_parser(
        "store", help="list, show, withdraw and prune the releases in a store"
    )
    actions = group.add_subparsers(title="actions", metavar="ACTION", required=True)

    def action(name: str, what: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = actions.add_parser(
            name, parents=[parsers.common], help=what, description=f"{what[0].upper()}{what[1:]}."
        )
        made.set_defaults(parser=made)
        _add_store(made)
        add_json(made)
        return made

    listed = action("list", "list the releases in a store, their sizes, and who is pruning")
    listed.set_defaults(run=run_list)

    show = action("show", "show what a release needs, and what of it no other release needs")
    show.add_argument("name", metavar="NAME", help="a release")
    show.set_defaults(run=run_show)

    verify = action(
        "verify", "read every blob of every release, and name what is damaged or missing"
    )
    verify.add_argument(
        "--repair-from",
        metavar="IMAGE",
        help="put what is damaged or missing right, as far as this image has it",
    )
    verify.set_defaults(run=run_verify)

    withdraw = action(
        "withdraw", "no longer offer releases to vehicles; those under way can still finish"
    )
    withdraw.add_argument("names", metavar="NAME", nargs="+", help="a release")
    _add_dry_run(withdraw)
    withdraw.set_defaults(run=run_withdraw)

    prune = action("prune", "withdraw old releases, and remove what no release needs any more")
    prune.add_argument(
        "--keep",
        metavar="N",
        type=_number,
        help="withdraw all but the N releases that were published last",
    )
    prune.add_argument(
        "--keep-since",
        metavar="TIME",
        type=option_type(parse_time),
        help=(
            "withdraw what was published before this time (ISO 8601); with --keep, what either "
            "keeps is kept"
        ),
    )
    prune.add_argument(
        "--release", metavar="NAME", nargs="+", default=[], help="withdraw these releases"
    )
    prune.add_argument(
        "--grace",
        metavar="DAYS",
        type=_days,
        default=7 * DAY,
        help=(
            "how long withdrawn releases are kept for vehicles under way; longer than any "
            "publishing takes; default: 7"
        ),
    )
    prune.add_argument(
        "--unfinished",
        action="store_true",
        help="also remove what was claimed longer ago than the grace time, and never finished",
    )
    add_list(
        prune,
        "--remove-pruner",
        metavar="ID",
        help=(
            "first remove what a killed pruner left, so that publishing goes on; be sure that it "
            "runs no more"
        ),
    )
    _add_dry_run(prune)
    prune.set_defaults(run=run_prune)


def _add_store(
    parser: argparse.ArgumentParser, *, nargs: str | None = None, default: str = ""
) -> None:
    what = f"a folder, s3://…, gs://…, az://… or https://…{default}"
    parser.add_argument("store", metavar="STORE", nargs=nargs, help=what)


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")


def _check_name(name: str) -> None:
    from otabuild.format.release_name import check_release_name

    check_release_name(name)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError("not a number of releases")
    return int(text)


def _days(text: str) -> int:
    with suppress(ValueError):
        days = float(text)
        if 0 <= days <= 36_500:
            return int(days * DAY)
    raise argparse.ArgumentTypeError("not a number of days")


def _opened(args: argparse.Namespace) -> closing[Store]:
    from otabuild.stores.open_store import open_store

    return closing(open_store(args.store))


def run_publish(args: argparse.Namespace) -> int:
    """Publish an image, or build a recipe and publish its image."""
    from otabuild.api import publish

    started = time.monotonic()
    done = publish(
        args.image,
        args.store,
        args.name,
        unsigned=args.unsigned,
        wait=session.wait_for_pruner if args.wait else None,
        progress=lambda what: partial(show_progress, what),
        tell=tell,
    )
    seconds = "" if done.was_there else f"  {time.monotonic() - started:.1f} s"
    emit(args, done.to_value(), [f"{done.describe()}{seconds}"])
    if done.is_complete_upload and not done.was_there:
        say("note: this store cannot be listed, so everything was uploaded")
    return 0


def run_pull(args: argparse.Namespace) -> int:
    """Write an image."""
    from otabuild.releases.parallel import REQUESTS
    from otabuild.releases.pull import pull

    with opened(args, args.image) as image:
        done = pull(
            image,
            args.output,
            int(time.time()),
            workers=REQUESTS,
            progress=partial(show_progress, "pull"),
        )
    digest = "" if done.sha256 is None else f"  sha256:{done.sha256}"
    line = f"{done.target}  {human_size(done.size)} in {counted(done.files, 'file')}{digest}"
    emit(args, done.to_value(), [fitted(line, sys.stdout), *done.documents])
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Read a store back."""
    from otabuild.image.image import open_image
    from otabuild.releases.check_store import check_store

    with ExitStack() as stack:
        image = stack.enter_context(open_image(args.repair_from)) if args.repair_from else None
        store = stack.enter_context(_opened(args))
        found = check_store(store, image, progress=partial(show_progress, "verify"))
    emit(args, found.to_value(), _checked_lines(found))
    return 0 if found.ok else 1


def _checked_lines(found: CheckedStore) -> Iterator[str]:
    for one in found.damaged:
        repaired = "repaired" if one.is_repaired else "not repaired"
        yield (
            f"sha256:{one.blob.digest.hex()}  {one.what}, {repaired}; needed by "
            f"{', '.join(one.releases)}"
        )
    yield from (f"{name}  broken: {what}" for name, what in found.broken)
    size = f"{counted(found.blobs, 'blob')}, {human_size(found.size)}"
    yield f"{counted(found.releases, 'release')} of {size}: {'whole' if found.ok else 'NOT WHOLE'}"


def run_list(args: argparse.Namespace) -> int:
    """List a store."""
    from otabuild.releases.listing import list_store

    with _opened(args) as store:
        found = list_store(store)
    lines = [_listed_line(one) for one in found.releases]
    lines += [f"pruner {pruner.id}: {pruner.about}" for pruner in found.pruners]
    lines += [f"not written by otabuild: {key}" for key in found.strangers]
    if not lines:
        say(f"note: no release in {args.store}")
    emit(args, found.to_value(), lines)
    return 0


def _listed_line(one: Listed) -> str:
    release = one.release
    times = {"published": release.published, "withdrawn": release.withdrawn}
    since = times.get(release.state) or release.claimed
    size = (
        "" if one.size is None else f"  {human_size(one.size)} in {counted(one.blobs or 0, 'blob')}"
    )
    return f"{release.id.name}  {release.state} {utc(int(since))}{size}"


def run_show(args: argparse.Namespace) -> int:
    """Show what a release needs."""
    from otabuild.releases.listing import show_release

    with _opened(args) as store:
        found = show_release(store, args.name)
    value = {"releases": [one.to_value() for one in found]}
    emit(args, value, [line for one in found for line in _shown(one)])
    return 0


def _shown(one: Needs) -> Iterator[str]:
    release = one.listed.release
    yield _listed_line(one.listed)
    yield f"  digest    sha256:{release.id.digest.hex()}"
    yield f"  claims    {human_size(one.size)} in {counted(one.blobs, 'blob')}"
    yield f"  its own   {human_size(one.own_size)} in {counted(one.own_blobs, 'blob')}"
    yield from (f"  document  {name}  {human_size(size)}" for name, size in one.documents.items())


def run_withdraw(args: argparse.Namespace) -> int:
    """Withdraw releases."""
    from otabuild.releases.parallel import REQUESTS
    from otabuild.releases.prune import named, release_value, withdraw
    from otabuild.releases.store_survey import survey

    with _opened(args) as store:
        chosen = named(survey(store, REQUESTS), args.names, store.url)
        if not args.dry_run:
            withdraw(store, chosen, utc(int(time.time())))
    value = {"dry-run": args.dry_run, "withdrawn": [release_value(one.id) for one in chosen]}
    would = "would withdraw" if args.dry_run else "withdrew"
    emit(args, value, [f"{would} {one.id.name}" for one in chosen] or ["nothing to withdraw"])
    return 0


def run_prune(args: argparse.Namespace) -> int:
    """Prune a store."""
    from otabuild.releases.prune import Pruning, plan, prune, remove_pruner

    told = Pruning(args.keep, args.keep_since, tuple(args.release), args.unfinished, args.grace)
    now = int(time.time())
    with _opened(args) as store:
        if args.dry_run:
            done = plan(store, told, now)
        else:
            for left in args.remove_pruner:
                remove_pruner(store, left)
            done = prune(store, told, secrets.token_hex(8), f"{_who()}, since {utc(now)}", utc(now))
    value = {"dry-run": args.dry_run, **done.to_value()}
    emit(args, value, _pruned_lines(done, dry_run=args.dry_run))
    return 0


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = str(os.getuid())
    return f"{user} on {socket.gethostname()}, process {os.getpid()}"


def _pruned_lines(done: Pruned, *, dry_run: bool) -> Iterator[str]:
    would = "would have " if dry_run else ""
    for word, releases in (("withdrawn", done.withdrawn), ("removed", done.removed)):
        yield from (f"{would}{word} {release.name}" for release in releases)
    yield (
        f"{would}freed {human_size(done.size)} in {counted(done.blobs, 'blob')}; "
        f"{counted(done.kept, 'release')} still claimed"
    )
