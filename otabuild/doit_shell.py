"""What doit is given besides tasks: a state file that survives, and a reporter that says each error once."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from doit.dependency import DatabaseException, SqliteDB
from doit.exceptions import BaseFail, TaskFailed, UnmetDependency
from doit.reporter import ConsoleReporter
from doit.task import Task

from otabuild import session
from otabuild.errors import OtabuildError
from otabuild.pipeline.own_steps import note_tasks
from otabuild.storage import fs


class StateDB(SqliteDB):  # type: ignore[misc]  # doit has no types
    """doit's memory of tasks in one SQLite file: folder made when missing, thrown away when damaged.

    Our own steps do not need it; a product's tasks in the same dodo.py do.
    """

    def __init__(self, name: str, codec: Any, **options: Any) -> None:
        fs.makedirs(os.path.dirname(name) or ".")
        try:
            super().__init__(name, codec, **options)
            self._conn.execute("select count(*) from doit").fetchone()
        except (DatabaseException, sqlite3.DatabaseError):
            fs.rename(name, f"{name}.corrupt")
            super().__init__(name, codec, **options)
        self._conn.execute("pragma busy_timeout = 30000")


class Record(NamedTuple):
    """A task of this run: whether it ran, how long it took, and what it gave back."""

    ran: bool
    seconds: float
    values: dict[str, Any]


at_end: list[Callable[[dict[str, Record]], None]] = []
"""Called with all tasks of a run, by name, when it is over."""


class Reporter(ConsoleReporter):  # type: ignore[misc]  # doit has no types
    """One line for each task as it starts, one message for each error; every line at once, on pipes, too."""

    desc = "one line for each task, one message for each error"

    def __init__(self, outstream: Any, options: Any) -> None:
        super().__init__(outstream, options)
        self._started = self._task_started = time.monotonic()
        self._records: dict[str, Record] = {}

    def write(self, text: str) -> None:
        """Write and flush: a CI log that comes at the end is none."""
        self.outstream.write(text)
        self.outstream.flush()

    def initialize(self, tasks: Any, selected_tasks: Any) -> None:
        """Take the lock before anything is looked at, and note which steps there are."""
        super().initialize(tasks, selected_tasks)
        session.handle_signals()
        sys.excepthook = _quiet_interrupt
        session.lock_or_exit()
        note_tasks(tasks)

    def execute_task(self, task: Task) -> None:
        """Tell that a task starts."""
        self._task_started = time.monotonic()
        super().execute_task(task)

    def add_success(self, task: Task) -> None:
        """Note what a task did."""
        self._records[task.name] = Record(True, time.monotonic() - self._task_started, dict(task.values))

    def skip_uptodate(self, task: Task) -> None:
        """Note, and tell, that a task has nothing to do."""
        self._records[task.name] = Record(False, 0, {})
        super().skip_uptodate(task)

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        """Tell of a failure once; what could not run because of it needs no telling."""
        if isinstance(fail, UnmetDependency):
            fail.__class__ = TaskFailed  # else `doit run -c` ends with 2, which stands for a bug
            return
        super().add_failure(task, fail)

    def _write_failure(self, result: dict[str, Any], write_exception: bool = True) -> None:  # doit's
        fail = result["exception"]
        self.write(f"error: {result['task'].name}: {fail.get_msg() if write_exception else ''}\n")

    def complete_run(self) -> None:
        """What doit itself has to say, the reports, and the time."""
        failed = self._finish()
        for text in self.runtime_errors:
            self.write(f"{text}\n")
        if self.failures:
            names = ", ".join(failure["task"].name for failure in self.failures)
            self.write(f"FAILED: {names}\n")
        self.write(f"{time.monotonic() - self._started:.1f} s\n")
        if failed:
            raise SystemExit(1)  # doit asks tasks alone how a run went

    def _finish(self) -> bool:
        """Do what is to be done at the end; tells of each known error, and returns whether there was one."""
        failed = False
        for finish in at_end:
            try:
                finish(self._records)
            except OtabuildError as error:
                self.write(f"error: {error}\n")
                failed = True
        return failed


def _quiet_interrupt(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted; the steps that were finished stay finished", file=sys.stderr)
        raise SystemExit(130)  # else Python ends itself by the signal, which is no exit code
    sys.__excepthook__(kind, error, traceback)
