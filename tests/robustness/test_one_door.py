"""Only storage/fs changes files: each other call that may is listed here with its reason."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent.parent / "otabuild"

DOORS = {"storage/fs.py", "storage/fs_at.py"}
ALLOWED = {
    ("session.py", "open"): "the null device, in the place of a stream that is closed",
    ("session.py", "os.open"): "the null device, in the place of a stream that cannot be written to",
    ("format/table_schema.py", "sqlite3.connect"): "a database in memory",
    ("image/image.py", "tempfile.SpooledTemporaryFile"): "has no name: nothing to find, nothing to leave behind",
    ("image/image.py", "tempfile.gettempdir"): "only asks for the room there",
    ("storage/cache_database.py", "sqlite3.connect"): "SQLite writes its own files; the cache may be lost",
    ("storage/cache.py", "os.open"): "a pack that is there, to punch holes, which is announced",
    ("storage/sqlite_write.py", "os.open"): "a file that is there, to write to, which is announced",
    ("storage/sqlite_read.py", "open"): "a file that loses its name before anything is written to it",
    ("storage/sqlite_read.py", "sqlite3.connect"): "reads only",
    ("storage/sqlite_read.py", "tempfile.mkdtemp"): "for that file, and gone with its name",
}
"""Module and function, and why the call is allowed."""
WRITING = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "_NEW")
CHANGING = {"ftruncate", "truncate", "posix_fallocate", "copy_file_range", "sendfile", "fchmod", "splice", "pwritev"}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def may_change(call: ast.Call) -> bool:
    name = dotted(call.func)
    if name == "open":
        modes = [*call.args[1:2], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
        return any(not isinstance(mode, ast.Constant) or set("wax+") & set(str(mode.value)) for mode in modes)
    if name == "os.open":
        return any(flag in ast.unparse(call) for flag in WRITING)
    module, _, function = name.rpartition(".")
    return (
        (module == "os" and function in CHANGING)
        or module == "tempfile"
        or function in {"write_text", "write_bytes", "touch"}
        or name == "sqlite3.connect"
    )


def announced(module: ast.Module) -> set[ast.AST]:
    """Return the nodes inside a `with` that informs the observer."""
    doors = ("fs.change(", "change(")
    return {
        inner
        for node in ast.walk(module)
        if isinstance(node, ast.With) and any(ast.unparse(item.context_expr).startswith(doors) for item in node.items)
        for inner in ast.walk(node)
    }


def found() -> set[tuple[str, str]]:
    calls = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        module = ast.parse(path.read_text(encoding="utf-8"))
        inside = announced(module)
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and may_change(node) and node not in inside and name not in DOORS:
                calls.add((name, dotted(node.func)))
    return calls


def test_every_change_goes_through_one_door() -> None:
    assert found() - ALLOWED.keys() == set()


def test_no_leave_is_given_for_nothing() -> None:
    assert ALLOWED.keys() - found() == set()


def test_the_door_is_watched() -> None:
    for text in ("os.open(p, os.O_CREAT)", "open(p, 'wb')", "open(p, mode='a')", "os.ftruncate(fd, 0)"):
        call = ast.parse(text).body[0]
        assert isinstance(call, ast.Expr)
        assert isinstance(call.value, ast.Call)
        assert may_change(call.value)
