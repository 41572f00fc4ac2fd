"""A product's folder for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.signing_world import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A small rootfs; the recipe is not written yet."""
    folder = tmp_path / "product"
    (folder / "rootfs/etc").mkdir(parents=True)
    (folder / "rootfs/etc/hostname").write_text("test\n")
    (folder / "rootfs/etc/numbers").write_text("".join(f"{n}\n" for n in range(5000)))
    monkeypatch.chdir(folder)
    return World(folder)
