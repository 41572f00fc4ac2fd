"""mount: a payload as a directory."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import threading

from otabuild.commands.output import (
    Parsers,
    add_bounds,
    add_compat,
    add_image,
    add_payload,
    chosen,
    opened,
    say,
)
from otabuild.errors import InputError, how_to_install, printable
from otabuild.progress import tell

_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def add(parsers: Parsers) -> None:
    """Add the command."""
    parsers.group("Look")
    mount = parsers.add_parser(
        "mount",
        help=(
            "show a payload as a read-only directory until it is unmounted "
            "(needs the extra `mount`)"
        ),
    )
    add_image(mount)
    add_payload(mount)
    mount.add_argument("directory", metavar="DIR", help="an existing directory to mount on")
    add_bounds(mount)
    add_compat(mount)
    mount.set_defaults(run=run_mount)


def run_mount(args: argparse.Namespace) -> int:
    """Mount a payload; return when it is unmounted."""
    try:
        from otabuild.deployment.fuse_mount import mount
    except (ImportError, OSError) as error:  # no mfusepy, or no libfuse
        hint = f"{how_to_install('mount')}, and FUSE (Debian: fuse3)"
        raise InputError(
            "mounting needs an extra", where=args.directory, observed=error, hint=hint
        ) from None
    with opened(args, args.image) as image:
        payload = chosen(args, image)
        name = printable(
            f"{args.directory}: payload {payload.name}, read-only, signature NOT checked"
        )
        tell(f"{name}; Ctrl-C or `fusermount3 -u` ends it")
        _unmount_at_signal(os.path.abspath(args.directory))  # FUSE changes to the root
        mount(payload, args.directory, warn=lambda text: say(f"error: {text}"))
    return 0


def _unmount_at_signal(directory: str) -> None:
    """Let a thread wait for signals: Python's own handlers would not run while FUSE waits in C."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)

    def wait() -> None:
        signal.sigwait(_ENDING)
        subprocess.run(["fusermount3", "-u", "-z", directory], check=False)  # noqa: S603, S607  (FUSE's own program)

    threading.Thread(target=wait, daemon=True).start()
