"""Run a command, and send it a signal at its n-th change of the file system.

interrupt.py N SIGNAL build RECIPE      `otabuild build RECIPE`, or with `doit` in front of arguments: doit
interrupt.py 0 0 build RECIPE           no signal: prints each change
"""

from __future__ import annotations

import os
import sys

from otabuild.storage import fs


def main() -> None:
    number, signal, *arguments = sys.argv[1:]
    seen = 0

    def observe(phase: str, operation: str, path: str) -> None:
        nonlocal seen
        seen += 1
        if signal == "0":
            os.write(1, f"change {phase} {operation} {path}\n".encode())  # threads: no sys.stdout
        elif seen == int(number):
            os.kill(os.getpid(), int(signal))

    fs.observer = observe
    if arguments[0] == "doit":
        from doit.doit_cmd import DoitMain

        sys.exit(DoitMain().run(arguments[1:]))
    from otabuild.cli import main as run

    sys.exit(run(arguments))


main()
