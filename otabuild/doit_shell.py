"""Parts for doit besides tasks: a state file that survives damage, and a reporter of errors."""

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

from otabuild import progress, session
from otabuild.ci import annotated, begin_group, end_group
from otabuild.colours import painted
from otabuild.errors import OtabuildError, StorageError
from otabuild.pipeline.own_steps import note_tasks
from otabuild.storage import fs


class StateDB(SqliteDB):  # type: ignore[misc]  # doit has no types
    """doit's memory of tasks in an SQLite file; makes missing folders, discards a damaged file.

    otabuild's own steps do not need it, but a product's tasks in the same dodo.py do.
    """

    def __init__(self, name: str, codec: Any, **options: Any) -> None:
        with session.exit_on_error():  # doit would show a traceback
            fs.makedirs(os.path.dirname(name) or ".")
            try:
                super().__init__(name, codec, **options)
                self._check_rows()
            except (DatabaseException, sqlite3.DatabaseError, ValueError) as error:
                self._begin_anew(error, name, codec, options)
        self._conn.execute("pragma busy_timeout = 30000")

    def _begin_anew(
        self, damage: Exception, name: str, codec: Any, options: dict[str, Any]
    ) -> None:
        if os.path.lexists(name):
            fs.rename(name, f"{name}.corrupt")
        try:
            super().__init__(name, codec, **options)
        # Which hides the error that it was made from, and says that the file is damaged.
        except DatabaseException:
            raise StorageError(
                "cannot use doit's memory of tasks",
                where=name,
                observed=damage.__context__ or damage,
                hint=f"look at the space and the rights on {fs.disk_of(name)}",
            ) from None

    def dump(self) -> None:
        """Write what doit remembers."""
        try:
            super().dump()
        # Doit would show a traceback, and not the end of the run.
        except sqlite3.OperationalError as error:
            self._conn.close()
            with progress.above():
                warning = f"warning: {self.name}: doit cannot remember this run ({error})"
                print(painted(warning, sys.stderr), file=sys.stderr)

    def _check_rows(self) -> None:
        """Decode everything: a flipped bit escapes SQLite, and doit would fail on it later."""
        for row in self._conn.execute("select * from doit"):
            if not isinstance(row["task_data"], dict):
                raise sqlite3.DataError(row["task_id"])


class Record(NamedTuple):
    """A task of this run: whether it ran, how long it took, and what it returned."""

    ran: bool
    seconds: float
    values: dict[str, Any]


at_end: list[Callable[[dict[str, Record]], None]] = []
"""Called at the end of a run with all its tasks by name."""


class Reporter(ConsoleReporter):  # type: ignore[misc]  # doit has no types
    """Shows one line for each task when it starts, one message for each error, each at once."""

    desc = "one line for each task, one message for each error"

    def __init__(self, outstream: Any, options: Any) -> None:
        # Doit keeps the stream from before `open_streams`.
        super().__init__(outstream or sys.stdout, options)
        self._started = time.monotonic()
        self._began: dict[str, float] = {}  # `doit -n` runs several tasks at a time
        self._records: dict[str, Record] = {}
        self._group = ""  # the task whose part of a CI log is open; `doit -n` runs others meanwhile

    def write(self, text: str) -> None:
        """Write and flush, so that a CI log shows progress as it happens."""
        try:
            with progress.above():
                self.outstream.write(painted(text, self.outstream))
                self.outstream.flush()
        except OSError as error:
            print(f"error: standard output: {error.strerror}", file=sys.stderr)
            session.end_output()
            raise SystemExit(1) from None

    def initialize(self, tasks: Any, selected_tasks: Any) -> None:
        """Take the lock before anything else, and record the steps of the run."""
        super().initialize(tasks, selected_tasks)
        session.keep_own_access()
        session.handle_signals()
        sys.excepthook = _quiet_interrupt
        session.lock_or_exit()
        note_tasks(tasks)

    def execute_task(self, task: Task) -> None:
        """Show that a task starts."""
        self._began[task.name] = time.monotonic()
        progress.clear()
        if task.actions and not self._group and (line := begin_group(task.name)):
            self._group = task.name
            self.write(f"{line}\n")
        super().execute_task(task)
        if (task.meta or {}).get("shown"):  # what else runs may write to the terminal itself
            progress.show_progress(task.name, 0, 0)

    def add_success(self, task: Task) -> None:
        """Record what a task did."""
        self._records[task.name] = Record(
            True, time.monotonic() - self._began[task.name], dict(task.values)
        )
        self._end_group(task)

    def skip_uptodate(self, task: Task) -> None:
        """Record and show that a task has nothing to do."""
        self._records[task.name] = Record(False, 0, {})
        super().skip_uptodate(task)

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        """Show a failure once, and nothing for the tasks that it prevents from running."""
        if isinstance(fail, UnmetDependency):
            fail.__class__ = TaskFailed  # otherwise `doit run -c` exits with 2, which means a bug
            return
        progress.clear()
        self._end_group(task)
        super().add_failure(task, fail)

    def _end_group(self, task: Task) -> None:
        if self._group == task.name:
            self._group = ""
            self.write(f"{end_group(task.name)}\n")

    # doit's.
    def _write_failure(self, result: dict[str, Any], write_exception: bool = True) -> None:
        message = result["exception"].get_msg() if write_exception else ""
        text = annotated(f"error: {result['task'].name}: {message}")
        self.write(f"{text}\n")

    def complete_run(self) -> None:
        """Show doit's own messages, the reports and the time."""
        failed = self._finish()
        progress.clear()
        for text in self.runtime_errors:
            self.write(f"{text}\n")
        if self.failures:
            names = ", ".join(failure["task"].name for failure in self.failures)
            self.write(f"FAILED: {names}\n")
        self.write(f"{time.monotonic() - self._started:.1f} s\n")
        if failed:
            raise SystemExit(1)  # doit derives the exit code of a run from tasks only

    def _finish(self) -> bool:
        """Do the work of the end of a run; show each known error; return whether there was one."""
        failed = False
        for finish in at_end:
            try:
                finish(self._records)
            except OtabuildError as error:
                self.write(f"error: {error}\n")
                failed = True
        return failed


def _quiet_interrupt(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    progress.clear()
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted; the steps that were finished stay finished", file=sys.stderr)
        # Otherwise Python terminates itself by the signal, which is not an exit code.
        raise SystemExit(130)
    sys.__excepthook__(kind, error, traceback)
