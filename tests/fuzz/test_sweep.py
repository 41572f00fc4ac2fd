"""Every target for a minute, guided by coverage; needs `pip install --group fuzz`."""

from __future__ import annotations

import pytest

from tests.fuzz.run import fuzz
from tests.fuzz.targets import TARGETS


@pytest.mark.sweep
@pytest.mark.parametrize("name", TARGETS)
def test_fuzz(name: str) -> None:
    pytest.importorskip("atheris")
    assert fuzz(name, 60), f"see build/fuzz/{name}"
