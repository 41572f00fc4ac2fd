"""OTA images; see `doit list`."""

from otabuild.tasks import *  # noqa: F403
