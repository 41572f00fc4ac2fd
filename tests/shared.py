"""Optional companions of a checkout: the reference builder's images and an independent verifier."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"
FIXTURES = SHARED / "fixtures"
REFERENCE = FIXTURES / "reference-full.zip"
REFERENCE_ROOT = FIXTURES / "reference-root-ca.pem"
TOOLS = SHARED / "tools"
ORACLE = TOOLS / "ota_oracle.py"

has_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the reference builder's images are not here")
