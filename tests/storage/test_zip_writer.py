"""Writing an artifact ends soon after an interrupt."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from otabuild.storage.member import document
from otabuild.storage.zip_writer import write_artifact


def test_members_that_nobody_wants_any_more_are_not_copied(tmp_path: Path) -> None:
    done: list[int] = []
    seen = threading.Event()

    def progress(size: int) -> None:
        done.append(size)
        if len(done) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        seen.wait(10)
        time.sleep(0.05)  # time for the main thread to say so

    def handle(*_: object) -> None:
        seen.set()
        raise KeyboardInterrupt

    members = [document(f"blobs/sha256/{number}", b"x") for number in range(50)]
    before = signal.signal(signal.SIGINT, handle)
    try:
        with pytest.raises(KeyboardInterrupt):
            write_artifact(str(tmp_path / "a.zip"), members, workers=1, progress=progress)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(done) < 50
    assert os.listdir(tmp_path) == []
