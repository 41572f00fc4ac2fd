"""The rooms of the package, read from the imports: arrows only point down, and each room stays within its task."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.rooms import READER

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "otabuild"
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py"))

ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "version": set(),
    "tally": {"errors"},
    "findings": {"errors"},
    "format": {"errors"},
    "storage": {"errors", "format"},
    "stores": {"errors", "format", "storage"},
    "signing": {"errors", "findings", "format", "storage"},
    # the builder: from inputs to blobs, tables and documents
    "rootfs": {"errors", "version", "format", "storage"},
    "assembly": {"errors", "version", "format", "storage", "rootfs"},
    # the reader: one room for each verb; none of them sees the builder
    "image": {"errors", "findings", "format", "storage", "stores", "signing"},
    "verification": {"errors", "findings", "tally", "format", "storage", "stores", "signing", "image"},
    "deployment": {"errors", "findings", "tally", "format", "storage", "stores", "signing", "image", "verification"},
    "packages": {"errors", "findings", "format", "storage", "stores", "signing", "image"},
    "sbom": {"errors", "findings", "version", "format", "storage", "stores", "signing", "image", "packages"},
    "comparison": {"errors", "findings", "format", "storage", "stores", "signing", "image", "packages"},
    "lint": {"errors", "findings", "format", "storage", "stores", "signing", "image", "packages"},
    "report": {"errors", "findings", "format", "storage", "stores", "signing", "image", "packages", "comparison"},
    # releases in a store: publish, list, prune, pull
    "releases": {"errors", "findings", "tally", "format", "storage", "stores", "signing", "image", "verification"},
    # what commands print
    "outputs": set(),
    # recipes, and the steps that join both halves
    "recipe": {"errors", "findings", "version", "format", "storage", "rootfs"},
}
"""What each room may import from besides itself; arrows only point down, and none goes sideways."""

ROOMS["pipeline"] = {*ROOMS}
ROOMS["steps"] = {*ROOMS}
SHELL = {"api", "ci", "cli", "colours", "commands", "doit_shell", "driver", "progress", "session", "tasks", "__main__"}
for _part in SHELL:
    ROOMS[_part] = {*ROOMS, *SHELL}


def part_of(module: str) -> str:
    """`otabuild/format/digest.py` is in the room `format`, `otabuild/cli.py` is one itself; `otabuild/__init__.py` is in none."""
    if module.startswith("otabuild/pipeline/steps/"):
        return "steps"
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
    """Return the rooms that a module imports from."""
    own = [name for name in imports_of(module) if name.startswith("otabuild.")]
    return {"steps" if name.startswith("otabuild.pipeline.steps.") else name.split(".")[1] for name in own}


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
def test_every_module_is_in_a_room(module: str) -> None:
    assert part_of(module) in {"", *ROOMS}


@pytest.mark.parametrize("module", [module for module in MODULES if part_of(module)])
def test_imports_stay_within_the_rooms(module: str) -> None:
    part = part_of(module)
    wrong = {name for name in own_imports(module) - {part} if name in ROOMS} - ROOMS[part]
    assert not wrong, f"{part} may not import from {', '.join(sorted(wrong))}"


def test_no_room_may_import_what_its_imports_may_not() -> None:
    """An arrow that is allowed in one step is allowed in several, so the table shows all that a room can reach."""
    hidden = {
        (room, below, deeper)
        for room, allowed in ROOMS.items()
        if room not in SHELL
        for below in allowed
        for deeper in ROOMS[below] - allowed
    }
    assert not hidden


def test_modules_do_not_import_each_other_in_circles() -> None:
    """Imports for types alone count, too: such modules can only be understood together."""
    names = {module.removesuffix(".py").replace("/", "."): module for module in MODULES if part_of(module)}
    below = {
        name: {found for imported in imports_of(module) for found in (imported, imported.rpartition(".")[0])} & {*names}
        for name, module in names.items()
    }
    order = TopologicalSorter({name: found - {name} for name, found in below.items()})
    order.prepare()  # raises CycleError, which names the circle


def test_the_reader_is_whole_without_the_builder() -> None:
    for room in READER:
        assert ROOMS[room] <= READER


def test_no_room_is_a_hall() -> None:
    lines = Counter[str]()
    for module in MODULES:
        lines[part_of(module)] += len((ROOT / module).read_text(encoding="utf-8").splitlines())
    room, most = lines.most_common(1)[0]
    assert most <= 0.15 * lines.total(), f"{room}: {most} of {lines.total()} lines"


def test_a_class_name_means_one_class() -> None:
    classes = Counter(
        node.name for module in MODULES for node in tree_of(module).body if isinstance(node, ast.ClassDef)
    )
    assert not [name for name, count in classes.items() if count > 1]


def test_a_module_name_means_one_module_with_few_exceptions() -> None:
    """The exceptions read as a whole with their room: `format.file_table`, `assembly.file_table`."""
    modules = Counter(Path(module).stem for module in MODULES if not module.endswith("__init__.py"))
    twice = {name for name, count in modules.items() if count > 1}
    assert all(modules[name] == 2 for name in twice)
    assert len(twice) <= 6, sorted(twice)


@pytest.mark.parametrize("module", [module for module in MODULES if module.endswith("/__init__.py")])
def test_every_room_says_what_belongs_in_it(module: str) -> None:
    text = ast.get_docstring(tree_of(module)) or ""
    if module != "otabuild/__init__.py":
        assert "Belongs here:" in text
        assert "Does not:" in text
        assert "Start with" in text


def test_the_map_shows_every_room() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("## From recipe")[0]
    shown = set(re.findall(r"(\w+)(?:/|\.py|,| {4})", page))
    assert not {part_of(module) for module in MODULES} - shown - {"", "__main__", "steps", "version"}


@pytest.mark.parametrize("module", inside("format"))
def test_the_format_is_pure(module: str) -> None:
    impure = {"os", "pathlib", "time", "shutil", "subprocess", "tempfile", "socket", "random", "io", "glob"}
    assert not outside_imports(module) & impure
    assert not found_calls(module, {"open", "datetime.now"})


@pytest.mark.parametrize("module", outside("sbom"))
def test_the_libraries_of_bills_of_materials_stay_in_one_room(module: str) -> None:
    assert not {"cyclonedx", "packageurl"} & outside_imports(module)


@pytest.mark.parametrize("module", outside(*SHELL))
def test_only_the_shell_prints_and_exits(module: str) -> None:
    assert not found_calls(module, {"print", "input", "sys.exit", "exit", "os._exit"})
    assert not {"argparse", "doit", "getpass"} & outside_imports(module)


@pytest.mark.parametrize("module", sorted({*outside(*SHELL)} - {"otabuild/recipe/context.py"}))
def test_only_the_shell_reads_the_clock(module: str) -> None:
    """`Context.from_process` also does, because that is its purpose; loading a recipe receives the time."""
    clocks = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "process_time"}
    assert not found_calls(module, {f"time.{name}" for name in clocks} | {"datetime.now", "datetime.utcnow"})
    assert not {f"time.{name}" for name in clocks} & set(imports_of(module))


@pytest.mark.parametrize("module", sorted({*inside(*SHELL)} - {"otabuild/driver.py"}))
def test_only_the_driver_drives_builds(module: str) -> None:
    """Python, doit and the commands build in one way: they differ in who schedules the steps, and in nothing else."""
    parts = {"run.run_steps", "run.plan_steps", "steps.graph.build_steps", "build_report.write_report"}
    assert not {f"otabuild.pipeline.{part}" for part in parts} & set(imports_of(module))


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
    assert len((ROOT / module).read_text(encoding="utf-8").splitlines()) < 480
