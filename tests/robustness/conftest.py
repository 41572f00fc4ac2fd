"""A project with an artifact and an image directory, on a file system where a sync is cheap, if available."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shell.projects import Project, make_project

_MEMORY = "/dev/shm"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory, if available."""
    path = tempfile.mkdtemp(prefix="otabuild-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
    yield Path(path)
    shutil.rmtree(path)


@pytest.fixture
def project(folder: Path) -> Project:
    """A project that also makes an image directory."""
    project = make_project(folder / "product")
    project.edit("output: ../dist/vehicle.zip", "output: ../dist/vehicle.zip\noutput-dir: ../dist/image")
    return project
