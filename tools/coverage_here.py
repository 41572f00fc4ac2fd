"""A plugin of coverage: what a machine cannot run is not demanded there."""

from __future__ import annotations

import shutil
from importlib.util import find_spec

from coverage import CoveragePlugin
from coverage.plugin_support import Plugins
from coverage.types import TConfigurable


class _Here(CoveragePlugin):
    def configure(self, config: TConfigurable) -> None:
        """Leave out the signer that needs a token if none can be made: its tests are skipped."""
        if shutil.which("softhsm2-util") is None or find_spec("pkcs11") is None:
            config.set_option("run:omit", ["otabuild/signing/hsm.py"])


def coverage_init(reg: Plugins, options: object) -> None:
    """Register the plugin; coverage calls this."""
    del options
    reg.add_configurer(_Here())
