"""Commands on stores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otabuild import cli
from tests import pki


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run a command in a folder of its own at the time of the tests; return its JSON, if there is any."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.time", lambda: float(pki.NOW))

    def run(*words: str, code: int = 0) -> Any:
        assert cli.main(list(words)) == code, capsys.readouterr()
        out, err = capsys.readouterr()
        return json.loads(out) if "--json" in words else out + err

    return run
