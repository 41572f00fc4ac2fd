"""cache show, cache prune, cache verify: what a work directory keeps for later builds."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from otabuild import session
from otabuild.commands.output import Parsers, add_json, emit, option_type
from otabuild.format.sizes import counted, parse_size

if TYPE_CHECKING:
    from otabuild.pipeline.workspace import Workspace


def add(parsers: Parsers) -> None:
    """Add the command."""
    parsers.group("Maintenance")
    cache = parsers.add_parser("cache", help="show, prune or verify what is kept for later builds")
    cache.add_argument("action", choices=("show", "prune", "verify"), help="what to do")
    cache.add_argument(
        "--size",
        metavar="SIZE",
        type=option_type(parse_size),
        help="prune: leave at most this much, such as 5GiB; default: cache-size of the project",
    )
    cache.add_argument(
        "--wait", action="store_true", help="wait while a build is running in the same directory"
    )
    add_json(cache)
    cache.set_defaults(run=run_cache)


def run_cache(args: argparse.Namespace) -> int:
    """Show how much is kept, drop the least recently used, or read all and drop damaged blobs."""
    workspace = session.make_workspace()
    session.hold_lock(workspace.work, wait=args.wait)
    return {"show": _show, "prune": _prune, "verify": _verify}[args.action](args, workspace)


def _show(args: argparse.Namespace, workspace: Workspace) -> int:
    from otabuild.format.sizes import human_size
    from otabuild.pipeline.evict import usage

    found = usage(workspace)
    value = {
        **{name.replace("_", "-"): amount for name, amount in found._asdict().items()},
        "limit": workspace.cache_limit,
    }
    lines = [
        f"blobs     {human_size(found.blob_bytes)} in {counted(found.blobs, 'blob')}",
        f"archives  {human_size(found.archive_bytes)} of unpacked archives",
        f"limit     {human_size(workspace.cache_limit)}",
        f"on disk   {human_size(found.cache_disk_bytes + found.archive_bytes)}, with the database",
    ]
    emit(args, value, lines)
    return 0


def _prune(args: argparse.Namespace, workspace: Workspace) -> int:
    from otabuild.format.sizes import human_size
    from otabuild.pipeline.evict import evict, remove_archives, usage

    limit = workspace.cache_limit if args.size is None else args.size
    before = usage(workspace)
    evict(workspace, limit, spare=sys.maxsize)  # nothing is as new as that
    if usage(workspace).archive_bytes > limit:
        remove_archives(workspace)
    after = usage(workspace)
    freed = before.blob_bytes + before.archive_bytes - after.blob_bytes - after.archive_bytes
    value = {"freed": freed, "blobs-dropped": before.blobs - after.blobs, "blobs": after.blobs}
    left = f"{counted(after.blobs, 'blob')}, {human_size(after.blob_bytes)}, left"
    emit(args, value, [f"dropped {human_size(freed)}; {left}"])
    return 0


def _verify(args: argparse.Namespace, workspace: Workspace) -> int:
    with workspace.open_cache() as cache:
        blobs = cache.usage()[0]
        damaged = [blob.digest.hex() for blob in cache.discard_damaged()]
    lines = [f"damaged, and dropped: sha256:{digest}" for digest in damaged]
    lines.append(f"{counted(blobs, 'blob')} read, {len(damaged)} damaged")
    emit(args, {"blobs": blobs, "damaged": damaged}, lines, ok=not damaged)
    return 1 if damaged else 0
