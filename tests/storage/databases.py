"""Databases of a few rows."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def make(path: Path, script: str = "CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x'), (2, 'y');") -> bytes:
    """Write a database by a script, and return its bytes."""
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return path.read_bytes()
