"""Building from Python: what a process holds, and for how long."""

from __future__ import annotations

import pytest

import otabuild
from tests.shell.projects import Project

RECIPE = "recipes/vehicle.yaml"


@pytest.fixture
def inside(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project, with this process in its folder."""
    monkeypatch.chdir(project.root)
    return project


def test_build_stays_the_function_when_the_package_is_imported(inside: Project) -> None:
    sha256 = otabuild.build(RECIPE).sha256
    assert otabuild.build(RECIPE).sha256 == sha256
