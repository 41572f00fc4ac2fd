"""Killed or interrupted at any change: the old or the new output is complete, and the next run equals a clean one."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.robustness.sweeper import WORLDS
from tests.shell.projects import Project

SWEEPER = str(Path(__file__).parent / "sweeper.py")
SAMPLE = 20


def sweep(project: Project, world: str, number: int, points: list[float]) -> dict[str, Any]:
    """Stop a world at these fractions of its changes (0 to 1), or at every change without them."""
    project.seconds = 3600
    done = project.run(SWEEPER, world, str(int(number)), *map(str, points), OTABUILD_JOBS="1", PYTHONPATH=_root())
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def _root() -> str:
    return str(Path(__file__).parent.parent.parent)


def sample(seed: str) -> list[float]:
    return [random.Random(f"{seed}{number}").random() for number in range(SAMPLE)]


@pytest.mark.parametrize("world", WORLDS)
def test_a_kill_at_some_changes(project: Project, world: str) -> None:
    assert sweep(project, world, signal.SIGKILL, sample(world))["wrong"] == {}


@pytest.mark.sweep
@pytest.mark.parametrize("world", WORLDS)
def test_a_kill_at_every_change(project: Project, world: str) -> None:
    found = sweep(project, world, signal.SIGKILL, [])
    assert found["wrong"] == {}
    assert found["tried"] == found["changes"] > 150


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_some_changes(project: Project, number: signal.Signals) -> None:
    assert sweep(project, "cold", number, sample(number.name)[:8])["wrong"] == {}


@pytest.mark.sweep
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_every_change(project: Project, number: signal.Signals) -> None:
    found = sweep(project, "warm", number, [])
    assert found["wrong"] == {}
