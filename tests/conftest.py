"""Setup for all tests."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator

import hypothesis
import pytest

pytest_plugins = ["tests.refusals", "tests.softhsm", "tests.stores.addresses"]

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("otabuild", deadline=None)
hypothesis.settings.load_profile("otabuild")

# Builds keep the key of their cache there, and not in the home of whoever runs the tests.
os.environ["XDG_STATE_HOME"] = os.path.join(tempfile.gettempdir(), f"otabuild-tests-{os.getuid()}")

# Tests make files with this umask and start tools (a tar that turns names into those of the locale, a git that speaks
# its language) in this locale. Those that are about an umask or a locale set their own.
os.umask(0o022)
os.environ["LC_ALL"] = "C.UTF-8"
os.environ.pop("LANGUAGE", None)

# A background job ignores SIGINT, one under nohup SIGHUP, and so would all processes that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _signal_handlers() -> Iterator[None]:
    """Put back the signal handlers that a command run in this process has replaced."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests that need root if there is no root, and leave the long sweeps to `pytest -m sweep`."""
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason="needs root"))
    if not config.option.markexpr:
        sweeps = [item for item in items if item.get_closest_marker("sweep")]
        if len(sweeps) < len(items):  # run a sweep that was requested by name
            config.hook.pytest_deselected(items=sweeps)
            items[:] = [item for item in items if not item.get_closest_marker("sweep")]
