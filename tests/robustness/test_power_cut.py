"""A power cut at any change leaves the old or the new output, and reported work stays done (see power_cut.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.robustness.sweeper import WORLDS
from tests.shell.projects import Project

HERE = Path(__file__).parent


@pytest.mark.parametrize("world", WORLDS)
def test_a_power_cut(project: Project, world: str) -> None:
    done = project.run(str(HERE / "power_cut.py"), world, OTABUILD_JOBS="1", PYTHONPATH=str(HERE.parent.parent))
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["wrong"] == []
    assert found["changes"] > 150
