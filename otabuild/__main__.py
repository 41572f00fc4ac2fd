"""`python -m otabuild`, and the program `otabuild`."""

import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `main` handles it: no traceback during imports

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
    progress.show_progress(f"otabuild {' '.join(named)}", 0, 0)  # before the imports, which take a moment

from otabuild.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
