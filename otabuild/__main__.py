"""`python -m otabuild`."""

import sys

from otabuild.cli import main

sys.exit(main())
