"""`python -m otabuild`, and the program `otabuild`."""

import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `main` handles it: no traceback during imports

from otabuild.cli import main

if __name__ == "__main__":
    sys.exit(main())
