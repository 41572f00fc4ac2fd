"""What holds for all tests."""

from __future__ import annotations

import os
import signal

import pytest

pytest_plugins = ["tests.softhsm"]

# A job in the background of a script, or under nohup, ignores SIGINT, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs root without it; leave the long sweeps to `pytest -m sweep`."""
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason="needs root"))
    if not config.option.markexpr:
        sweeps = [item for item in items if item.get_closest_marker("sweep")]
        if len(sweeps) < len(items):  # a sweep that was asked for by name runs
            config.hook.pytest_deselected(items=sweeps)
            items[:] = [item for item in items if not item.get_closest_marker("sweep")]
