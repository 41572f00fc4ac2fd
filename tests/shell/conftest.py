"""A project for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shell.projects import Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A repository with one recipe, `vehicle`, which is not built yet."""
    return make_project(tmp_path / "product")
