"""The file that takes the contents of an archive."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import pytest

from otabuild.errors import StorageError
from otabuild.rootfs import spool
from otabuild.rootfs.spool import Spool


def test_a_spool_goes_though_its_last_bytes_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = os.close

    def fail(fd: int) -> None:
        close(fd)
        raise OSError(5, "Input/output error")

    class Failing:
        """The module os, but for its close."""

        def __getattr__(self, name: str) -> Any:
            return fail if name == "close" else getattr(os, name)

    monkeypatch.setattr(spool, "os", Failing())
    with Spool(str(tmp_path / "spool")) as file:
        file.write(b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_cannot_be_moved_to_its_place_goes(tmp_path: Path) -> None:
    def keep_nowhere() -> None:
        with Spool(str(tmp_path / "spool")) as file:
            file.write(b"x")
            file.keep(str(tmp_path / "nowhere/spool"))

    with pytest.raises(StorageError, match="nowhere"):
        keep_nowhere()
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_cannot_be_created_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="create"):
        Spool(str(tmp_path / "no-folder" / "spool"))


def test_a_spool_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Spool(str(tmp_path / "spool")) as file:
        file.write(bytes(2000))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old[1]))
        try:
            with pytest.raises(StorageError) as refused:
                file.keep(str(tmp_path / "kept"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert refused.value.where == str(tmp_path / "spool")
