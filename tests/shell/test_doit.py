"""doit as a user runs it."""

from __future__ import annotations

import io
import json
import os
import select
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from doit.task import Task

from otabuild import doit_shell
from otabuild.storage.lock import WorkLock
from tests.shell.projects import RECIPE, STEPS, WORK, Project


def test_a_fresh_clone_lists_and_cleans(project: Project) -> None:
    before = project.files()
    listed = project.doit("list", "--all", "--status")
    assert listed.code == 0
    for name in STEPS:
        assert name in listed.out
    assert project.doit("clean").code == 0
    assert project.doit("info", "build:vehicle").code == 1  # doit's way to say that it is not up to date
    assert {path.split("/")[0] for path in project.files() - before} <= {"__pycache__", "build"}


def test_the_second_build_does_nothing(project: Project) -> None:
    time.sleep(2.1)  # younger files are examined again, because their times may hide a later change
    assert project.doit("build").ran == STEPS
    before = project.artifact.stat()
    again = project.doit("build")
    assert again.code == 0
    assert again.ran == []
    assert project.artifact.stat().st_mtime_ns == before.st_mtime_ns


def test_a_changed_file_gives_what_a_clean_build_gives(project: Project) -> None:
    first = project.build()
    changed = project.root / "rootfs/etc/hostname"
    status = changed.stat()
    changed.write_text("TEST\n")
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))  # same size, same mtime
    second = project.build()
    assert second != first
    shutil.rmtree(project.root / "build")
    shutil.rmtree(project.root / "dist")
    assert project.build() == second


@pytest.mark.parametrize("change", ["mode", "link target", "new empty folder", "removed"])
def test_changes_without_a_new_content_are_seen(project: Project, change: str) -> None:
    first, rootfs = project.build(), project.root / "rootfs"
    if change == "mode":
        (rootfs / "etc/hostname").chmod(0o600)
    elif change == "link target":
        (rootfs / "bin").unlink()
        (rootfs / "bin").symlink_to("usr/sbin")
    elif change == "new empty folder":
        (rootfs / "opt").mkdir()
    else:
        (rootfs / "etc/empty").unlink()
    assert project.build() != first


def test_a_touched_file_is_scanned_and_no_more(project: Project) -> None:
    first = project.build()
    (project.root / "rootfs/etc/hostname").touch()
    again = project.doit("build")
    assert "scan:vehicle/main" in again.ran
    assert not {"tables:vehicle", "build:vehicle"} & set(again.ran)
    assert project.sha256 == first


def test_a_comment_in_the_recipe_builds_nothing(project: Project) -> None:
    project.build()
    with project.recipe.open("a", encoding="utf-8") as file:
        file.write("# a comment\n")
    assert "build:vehicle" not in project.doit("build").ran


def test_info_says_why_a_step_would_run_before_the_first_build(project: Project) -> None:
    told = project.doit("info", "build:vehicle").out
    assert ":vehicle: an earlier step has not run yet" in told
    assert "nothing changed" not in told


def test_one_recipe_of_two(project: Project) -> None:
    project.add_recipe("other")
    assert project.doit("build:other").code == 0
    assert (project.root / "dist/other.zip").exists()
    assert not project.artifact.exists()
    assert project.doit("build").code == 0
    assert project.artifact.exists()


def test_single_steps(project: Project) -> None:
    scanned = project.doit("scan:vehicle/main")
    assert scanned.ran == STEPS[:2]
    assert project.doit("index").ran[-1] == "index:vehicle"
    assert not project.artifact.exists()
    assert project.doit("dist/vehicle.zip").code == 0
    assert project.artifact.exists()


def test_inspect_lists_what_was_built(project: Project) -> None:
    done = project.doit("inspect")
    assert done.code == 0
    assert "payload " in done.out


def test_publish_builds_and_tells_what_it_uploaded(project: Project) -> None:
    project.recipe.write_text(project.recipe.read_text() + 'publish: {store: ../store, name: "1.0"}\n')
    first = project.doit("publish")
    assert first.ran == [*STEPS, "publish:vehicle"]
    assert "   1.0  uploaded " in first.out
    again = project.doit("publish:vehicle")
    assert again.ran[-1] == "publish:vehicle"
    assert "   1.0  was published already, with the same bytes" in again.out
    assert "publish:vehicle" not in project.doit("build").out
    by_command = project.otabuild("publish", "recipes/vehicle.yaml", "other", "--name", "2.0")
    assert by_command.code == 0
    assert by_command.out.startswith("2.0  uploaded ")
    assert project.otabuild("verify", "other/releases/2.0", "--ca", "pki/root-ca.pem").code == 0


def test_clean_removes_what_was_built_and_nothing_else(project: Project) -> None:
    project.edit("output:", "output-dir: ../dist/vehicle\noutput:")
    before = project.files()
    project.build()
    (project.root / "dist/mine.txt").write_text("not built")
    told = project.doit("clean", "-n")
    assert project.artifact.exists()
    assert "dist/vehicle.zip" in told.out
    assert project.doit("clean").code == 0
    left = {path for path in project.files() - before if "__pycache__" not in path and not path.startswith("build")}
    assert left == {"dist", "dist/mine.txt"}
    assert before <= project.files()
    work = {path for path in project.files() if path.startswith(f"{WORK}/recipes/vehicle/")}
    assert work <= {f"{WORK}/recipes/vehicle/rootfs"}  # an empty folder
    assert project.doit("build").code == 0


def test_clean_leaves_a_folder_that_the_build_refused(project: Project) -> None:
    project.edit("output:", "output-dir: ../mine\noutput:")
    (project.root / "mine").mkdir()
    (project.root / "mine/notes.txt").write_text("not built")
    refused = project.doit("build")
    assert refused.code == 1
    assert "not an OTA image" in refused.out + refused.err
    assert project.doit("clean").code == 0
    assert (project.root / "mine/notes.txt").read_text() == "not built"


def test_from_a_subfolder(project: Project) -> None:
    assert project.doit("run", "-k", "build", cwd="rootfs/etc").code == 0
    first = project.sha256
    project.artifact.unlink()
    assert project.doit("build", cwd="rootfs/etc", DOIT_SEEK_FILE="1").code == 0
    assert project.sha256 == first


def test_in_two_processes(project: Project) -> None:
    project.add_recipe("other")
    first = project.build()
    shutil.rmtree(project.root / "build")
    shutil.rmtree(project.root / "dist")
    assert project.doit("run", "-n", "2", "build").code == 0
    assert project.sha256 == first


@pytest.mark.parametrize("how", [["-n", "2"], ["-a"]], ids=" ".join)
def test_why_a_step_ran_is_told_however_doit_runs_it(project: Project, how: list[str]) -> None:
    if "-a" in how:
        project.build()
    done = project.doit("run", *how, "build")
    assert sorted(done.ran, key=STEPS.index) == STEPS
    steps = json.loads(Path(f"{project.artifact}.report.json").read_text(encoding="utf-8"))["steps"]
    reasons = [reason for step in steps for reason in step["ran-because"]]
    assert len(reasons) == len(STEPS)
    assert all(f" {reason}\n" in done.out for reason in reasons)  # behind the name of its task, if others run, too


def test_tasks_that_run_at_a_time_are_timed_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((0.0, 1.0, 2.0, 8.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    records: dict[str, doit_shell.Record] = {}
    monkeypatch.setattr(doit_shell, "at_end", [records.update])
    reporter = doit_shell.Reporter(io.StringIO(), {})
    slow, quick = Task("slow", None), Task("quick", None)
    reporter.execute_task(slow)
    reporter.execute_task(quick)
    reporter.add_success(slow)
    monkeypatch.setattr(time, "monotonic", lambda: 10.0)
    reporter.add_success(quick)
    reporter.complete_run()
    assert {name: record.seconds for name, record in records.items()} == {"slow": 7.0, "quick": 8.0}


def test_output_on_a_pipe_is_live(project: Project) -> None:
    gate = project.root / "gate"
    os.mkfifo(gate)
    (project.root / "dodo.py").write_text(
        "import otabuild\nfrom otabuild.tasks import *\n\n\n@otabuild.after_build('vehicle')\n"
        "def wait(artifact):\n    'Wait for the test.'\n    open('gate').read()\n"
    )
    running = project.start("-m", "doit", "wait:vehicle")
    assert running.stdout
    seen = ""
    while "wait:vehicle" not in seen:  # the task waits for us, so a buffered line would never arrive
        assert select.select([running.stdout], [], [], 60)[0], f"nothing but {seen!r} for a minute"
        seen += os.read(running.stdout.fileno(), 1 << 16).decode()
    assert ".  build:vehicle" in seen
    gate.write_text("go")
    running.communicate(timeout=60)
    assert running.returncode == 0


def test_a_broken_recipe_next_to_a_good_one(project: Project) -> None:
    project.add_recipe("broken", RECIPE.replace("ecu: main", "ecu: ../main"))
    listed = project.doit("list", "--all")
    assert listed.code == 0
    assert "build:broken" in listed.out
    assert project.doit("build:vehicle").code == 0
    both = project.doit("run", "-c", "build")
    assert both.code == 1
    assert "recipes/broken.yaml:13" in both.out
    assert "../main" in both.out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("recipes = 1", "recipes"),
        ("recipe = 'x'", "recipe"),
        ("recipes = 'nowhere'", "nowhere"),
    ],
)
def test_bad_settings(project: Project, settings: str, said: str) -> None:
    (project.root / "pyproject.toml").write_text(f"[tool.otabuild]\n{settings}\n")
    done = project.doit("build")
    assert done.code == 3
    assert said in done.err


def test_settings_name_the_folders(project: Project) -> None:
    (project.root / "pyproject.toml").write_text("[tool.otabuild]\nrecipes = 'images'\nwork = 'w'\n")
    (project.root / "recipes").rename(project.root / "images")
    assert project.build()
    assert (project.root / "w/recipes/vehicle/build.stamp").exists()


def test_no_recipes(project: Project) -> None:
    project.recipe.unlink()
    for command in ("build", "list"):
        done = project.doit(command)
        assert done.code == 3
        assert "otabuild init" in done.err


def test_an_unknown_task(project: Project) -> None:
    assert project.doit("build:nothing").code == 3


def test_a_second_build_at_once_ends_at_once(project: Project) -> None:
    lock = WorkLock(str(project.root / WORK))
    lock.acquire(started="2025-01-01T00:00:00Z")
    for done in (project.doit("build"), project.otabuild("build", "recipes/vehicle.yaml")):
        assert done.code == 1
        assert f"pid {os.getpid()}, started 2025-01-01T00:00:00Z" in done.err
        assert "OTABUILD_WAIT=1" in done.err
    assert not project.artifact.exists()
    assert project.doit("list").code == 0
    build = ("-m", "otabuild", "build", "recipes/vehicle.yaml")
    waiting = [project.start(*build, "--wait"), project.start(*build, OTABUILD_WAIT="1")]
    lock.release()
    for process in waiting:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert project.artifact.exists()


def test_clean_waits_for_nobody_and_breaks_nothing(project: Project) -> None:
    first = project.build()
    lock = WorkLock(str(project.root / WORK))
    lock.acquire(started="2025-01-01T00:00:00Z")
    done = project.doit("clean")
    lock.release()
    assert done.code != 0
    assert project.sha256 == first


def test_a_products_own_tasks(project: Project) -> None:
    (project.root / "dodo.py").write_text(
        "import otabuild\nfrom otabuild.tasks import *\n\n\n@otabuild.before_scan('vehicle', 'main')\n"
        "def fetch():\n    'Fetch.'\n    open('rootfs/etc/fetched', 'w').write('x')\n\n\n"
        "def task_sums():\n    return {'actions': ['sha256sum dist/vehicle.zip > sums'],"
        " 'file_dep': ['dist/vehicle.zip'], 'targets': ['sums']}\n"
    )
    done = project.doit("sums")
    assert done.code == 0, done.out + done.err
    assert done.ran.index("input:vehicle/main") < done.ran.index("scan:vehicle/main")
    assert (project.root / "sums").read_text().startswith(project.sha256)


def _database(project: Project) -> Path:
    return project.root / WORK / "doit.sqlite3"


@pytest.mark.parametrize("damage", ["garbage", "another database", "damaged row", "no dictionary", "removed", "empty"])
def test_doits_memory_may_be_lost(project: Project, damage: str) -> None:
    first = project.build()
    database = _database(project)
    if damage == "garbage":
        database.write_bytes(b"garbage" * 1000)
    elif damage == "another database":
        database.unlink()
        connection = sqlite3.connect(database)
        connection.execute("create table other (x)")
        connection.commit()
        connection.close()
    elif damage in ("damaged row", "no dictionary"):
        row = '{"checker:" 1}' if damage == "damaged row" else "[]"
        with closing(sqlite3.connect(database)) as connection, connection:
            assert connection.execute("update doit set task_data = ?", (row,)).rowcount
    elif damage == "empty":
        database.write_bytes(b"")
    else:
        database.unlink()
    again = project.doit("build")
    assert again.code == 0
    assert set(again.ran) <= {"scan:vehicle/main", "store:vehicle"}  # which look again at files as young as these
    assert project.sha256 == first


def test_a_memory_that_cannot_be_written_is_a_warning(project: Project) -> None:
    project.build()
    with closing(sqlite3.connect(_database(project))) as connection, connection:
        connection.execute("alter table doit rename to kept")
        connection.execute("create view doit as select * from kept")
    (project.root / "rootfs/etc/hostname").write_text("other")
    done = project.doit("build")
    assert done.code == 0
    assert "warning: build/.otabuild/doit.sqlite3: doit cannot remember this run (cannot modify doit" in done.err
    assert "dist/vehicle.zip  " in done.out


def test_doit_loads_nothing_heavy_before_its_first_sign(project: Project) -> None:
    loaded = project.run("-c", "import sys, otabuild.doit_shell; print(*sys.modules)").out.split()
    assert "doit.reporter" in loaded
    assert not {"pydantic", "cryptography", "yaml"} & set(loaded)


def test_a_build_with_nothing_to_do_loads_no_http_client(project: Project) -> None:
    assert project.doit("build").code == 0
    said = "import sys, doit.doit_cmd as d; d.DoitMain().run(['build']); print(*sys.modules)"
    loaded = project.run("-c", said).out.split()
    assert "otabuild.pipeline.steps.sign_step" in loaded
    assert not {"jwt", "http.client", "urllib.request"} & set(loaded)


@pytest.mark.parametrize("command", ["build", "list", "clean"])
def test_a_work_directory_that_cannot_be_made_is_one_error(project: Project, command: str) -> None:
    (project.root / "build").write_text("in the way")
    done = project.doit(command)
    assert done.code == 1
    assert done.err.startswith("error: build/.otabuild: cannot mkdir ")
    assert done.err.count("error:") == 1


def test_a_report_that_cannot_be_written_is_one_error(project: Project) -> None:
    report = project.root / "dist/vehicle.zip.report.json"
    (report / "a folder").mkdir(parents=True)
    by_doit = project.doit("build")
    assert by_doit.code == 1
    assert by_doit.out.count("error: ") == 1
    assert "error: dist/vehicle.zip.report.json: " in by_doit.out
    by_otabuild = project.otabuild("build", "recipes/vehicle.yaml")
    assert by_otabuild.code == 1
    assert "error: dist/vehicle.zip.report.json: " in by_otabuild.err
