"""The layers of the package, read from the imports: they only point down, and each layer stays within its task."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "otabuild"
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py"))

LAYERS = (
    {"errors", "version"},
    {"format"},
    {"storage"},
    {"signing"},
    {"rootfs"},
    {"build", "image"},
    {"recipe"},
    {"pipeline"},
    {"api", "cli", "commands", "doit_shell", "progress", "session", "tasks", "__main__"},
)
SHELL = LAYERS[-1]
PARTS = {name: level for level, names in enumerate(LAYERS) for name in names}


def part_of(module: str) -> str:
    """`otabuild/format/digest.py` belongs to `format`, `otabuild/cli.py` to `cli`; `otabuild/__init__.py` to none."""
    name = module.split("/")[1].removesuffix(".py")
    return "" if name == "__init__" else name


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"))


def imports_of(module: str) -> Iterator[str]:
    """Yield what a module imports, with the names taken from it: `os`, `os.path`, `otabuild.format.digest`, …"""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(module: str) -> set[str]:
    return {name.split(".")[1] for name in imports_of(module) if name.startswith("otabuild.")}


def outside_imports(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imports_of(module)} - {"otabuild", "__future__"}


def calls_of(module: str) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of each call of something imported or built in."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def found_calls(module: str, names: set[str]) -> list[str]:
    return [f"{module}:{line}: {name}" for line, name in calls_of(module) if name in names]


def found_functions(module: str, names: set[str]) -> list[str]:
    """Return where a module names a function such as `os.unlink`, called or not."""
    nodes = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.Attribute)]
    return [f"{module}:{node.lineno}: {ast.unparse(node)}" for node in nodes if ast.unparse(node) in names]


def inside(*parts: str) -> list[str]:
    return [module for module in MODULES if part_of(module) in parts]


def outside(*parts: str) -> list[str]:
    return [module for module in MODULES if part_of(module) not in parts]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_layer(module: str) -> None:
    assert part_of(module) in {"", *PARTS}


@pytest.mark.parametrize("module", [module for module in MODULES if part_of(module)])
def test_imports_point_down(module: str) -> None:
    part = part_of(module)
    wrong = {
        name
        for name in own_imports(module) - {part}
        if name in PARTS and PARTS[name] >= PARTS[part] and not {name, part} <= SHELL
    }
    assert not wrong, f"{part} may not import from {', '.join(sorted(wrong))}"


def test_the_reader_and_the_builder_do_not_know_each_other() -> None:
    assert not [module for module in inside("image") if "build" in own_imports(module)]
    assert not [module for module in inside("build") if "image" in own_imports(module)]


@pytest.mark.parametrize("module", inside("format"))
def test_the_format_is_pure(module: str) -> None:
    impure = {"os", "pathlib", "time", "shutil", "subprocess", "tempfile", "socket", "random", "io", "glob"}
    assert not outside_imports(module) & impure
    assert not found_calls(module, {"open", "datetime.now"})


@pytest.mark.parametrize("module", outside(*SHELL))
def test_only_the_shell_prints_and_exits(module: str) -> None:
    assert not found_calls(module, {"print", "input", "sys.exit", "exit", "os._exit"})
    assert not {"argparse", "tqdm", "doit", "getpass"} & outside_imports(module)


@pytest.mark.parametrize("module", sorted({*outside(*SHELL)} - {"otabuild/recipe/context.py"}))
def test_only_the_shell_reads_the_clock(module: str) -> None:
    """`Context.from_process` also does, because that is its purpose; loading a recipe receives the time."""
    clocks = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "process_time"}
    assert not found_calls(module, {f"time.{name}" for name in clocks} | {"datetime.now", "datetime.utcnow"})
    assert not {f"time.{name}" for name in clocks} & set(imports_of(module))


@pytest.mark.parametrize("module", [module for module in MODULES if not module.startswith("otabuild/storage/fs")])
def test_only_storage_fs_changes_the_file_system(module: str) -> None:
    names = (
        "chmod chown fchown fchownat lchown link mkdir makedirs mkfifo mknod pwrite remove removedirs removexattr "
        "rename renames replace rmdir setxattr symlink truncate unlink utime write"
    )
    changes = {f"os.{name}" for name in names.split()}
    changes |= {f"shutil.{name}" for name in ("copy", "copy2", "copyfile", "copytree", "move", "rmtree")}
    assert not found_functions(module, changes)


@pytest.mark.parametrize("module", MODULES)
def test_files_are_short(module: str) -> None:
    assert len((ROOT / module).read_text(encoding="utf-8").splitlines()) < 400
