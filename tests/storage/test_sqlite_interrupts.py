"""A signal during a callback of SQLite ends the work; SQLite would report it as an error of the table."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from otabuild import session
from otabuild.errors import StorageError
from otabuild.storage import fs
from otabuild.storage.sqlite_read import Database, open_database
from tests.storage.databases import make

_LONG = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 100000) SELECT count(*) FROM n"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers_come_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    fs.interrupted = None


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = open_database([make(tmp_path / "t")], "t")
    yield found
    found.close()


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
@pytest.mark.parametrize("where", ["progress", "function", "authorizer"])
def test_a_signal_ends_the_reading(
    database: Database, number: signal.Signals, error: type[BaseException], where: str
) -> None:
    session.handle_signals()

    def hit(*_: object) -> int:
        os.kill(os.getpid(), number)
        return 0

    if where == "progress":
        database.connection.set_progress_handler(hit, 10)
    elif where == "function":
        database.define("hit", hit)
    else:
        database.connection.set_authorizer(hit)
    with pytest.raises(error) as caught:
        list(database.query("SELECT hit(a) FROM t" if where == "function" else _LONG))
    assert str(caught.value) in ("", "143")


def test_so_does_one_that_nobody_but_python_handles(database: Database) -> None:
    database.connection.set_progress_handler(lambda: os.kill(os.getpid(), signal.SIGINT), 10)
    with pytest.raises(KeyboardInterrupt):
        list(database.query(_LONG))


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    session.handle_signals()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_signal_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = make(tmp_path / "t")
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    real = tempfile.mkdtemp

    def hit(prefix: str) -> str:
        found = real(prefix=prefix)
        os.kill(os.getpid(), signal.SIGINT)
        return found

    monkeypatch.setattr(tempfile, "mkdtemp", hit)
    with pytest.raises(KeyboardInterrupt):
        open_database([raw], "t")
    assert os.listdir(folder) == []


def test_a_signal_waits_for_the_end_of_the_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = make(tmp_path / "t")
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(fs, "observer", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        open_database([raw], "t")
    assert os.listdir(folder) == []


def test_no_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = make(tmp_path / "t")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StorageError, match="cannot write a temporary file"):
        open_database([raw], "t")


@pytest.mark.parametrize("number", _SIGNALS)
def test_an_interrupt_keeps_no_reader_open(database: Database, number: signal.Signals) -> None:
    """Until the interpreter takes its modules down, that is: closing the reader then prints a traceback."""
    session.handle_signals()
    closed: list[bool] = []

    def read() -> Iterator[object]:
        try:
            yield from database.query(_LONG)
        finally:
            closed.append(True)

    def run() -> None:
        reader = read()
        for _ in reader:
            signal.raise_signal(number)

    with pytest.raises((KeyboardInterrupt, SystemExit)) as caught:
        run()
    del caught
    gc.collect()
    assert closed
