"""`python -m otabuild`, and the program `otabuild`."""

import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until `main` handles it: no traceback during imports.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from otabuild import progress

LONG = {
    "build",
    "cost",
    "deploy-image",
    "diff",
    "extract",
    "lint",
    "offline",
    "packages",
    "publish",
    "pull",
    "report",
    "repro",
    "sign",
    "store",
    "verify",
}
if (named := LONG.intersection(sys.argv[1:])) and not {"-q", "--quiet"}.intersection(sys.argv):
    # Before the imports, which take a moment.
    progress.show_progress(f"otabuild {' '.join(named)}", 0, 0)

from otabuild.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
