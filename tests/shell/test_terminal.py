"""On a terminal something always moves, nothing wraps, and nothing dead is left; elsewhere there are plain lines."""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from pathlib import Path

import pytest

from otabuild import ci, progress
from otabuild.colours import painted
from otabuild.storage.lock import WorkLock
from tests.shell.projects import WORK, Project, make_project
from tests.shell.terminal import ERASE, Session, on_terminal

RECIPE = "recipes/vehicle.yaml"
BUILD = {"otabuild": ("-m", "otabuild", "build", RECIPE), "doit": ("-m", "doit", "build")}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A product that takes seconds to build, with names that do not fit into a line."""
    project = make_project(tmp_path_factory.mktemp("large") / "product")
    noise = random.Random(1).randbytes(1 << 20)
    for number in range(60):
        (project.root / f"rootfs/usr/share/{'long-name-' * 20}{number}").write_bytes(noise[number:] * 2)
    time.sleep(2.1)  # a file that is younger when it is scanned is scanned again
    return project


def check_alive(session: Session, columns: int, silence: float) -> None:
    assert session.code == 0, session.text
    assert max(session.silences) < silence
    assert session.drawn
    assert max(map(len, session.drawn)) < columns
    assert not [line for line in session.left if line[:2] in ("| ", "/ ", "- ", "\\ ")]


@pytest.mark.parametrize("columns", [20, 80])
@pytest.mark.parametrize("front", BUILD)
def test_a_build_is_alive_and_leaves_only_results(large: Project, front: str, columns: int) -> None:
    for folder in ("build", "dist"):
        subprocess.run(["rm", "-rf", folder], cwd=large.root, check=True)
    session = on_terminal(large, *BUILD[front], columns=columns)
    check_alive(session, columns, silence=30)  # how long depends on the machine; the sweep is strict
    if columns == 80:
        assert not [line for line in session.left if len(line) > columns]
        assert any(re.match(r". store vehicle  [\d.]+ MiB of [\d.]+ MiB, \d+ %", line) for line in session.drawn)
    assert "dist/vehicle.zip" in session.text
    assert re.search(r"preflight [\d.]+ s, .*store [\d.]+ s", " ".join(" ".join(session.left).split()))
    again = on_terminal(large, *BUILD[front], columns=columns)
    assert again.code == 0
    assert "nothing to do: all 7 steps up to date" in " ".join(" ".join(again.left).split())


@pytest.mark.sweep
@pytest.mark.parametrize("front", BUILD)
def test_the_first_sign_comes_at_once_and_no_silence_is_long(large: Project, front: str) -> None:
    for folder in ("build", "dist"):
        subprocess.run(["rm", "-rf", folder], cwd=large.root, check=True)
    session = on_terminal(large, *BUILD[front])
    check_alive(session, 80, silence=1)
    assert session.silences[0] <= 0.3


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"NO_COLOR": "1", "TERM": "dumb"}])
def test_a_dumb_terminal_gets_plain_lines(project: Project, env: dict[str, str]) -> None:
    session = on_terminal(project, *BUILD["otabuild"], columns=80, **env)
    assert session.code == 0
    assert "\x1b" not in session.text
    assert session.left[0] == "preflight:vehicle: not built yet"


def test_verify_shows_bytes_and_a_verdict_in_colour(large: Project) -> None:
    large.build()
    session = on_terminal(large, "-m", "otabuild", "verify", "dist/vehicle.zip", "--ca", "pki/root-ca.pem")
    check_alive(session, 80, silence=30)
    assert "\x1b[32mverified\x1b[0m" in session.text


def test_a_wrong_word_leaves_no_line_behind(project: Project) -> None:
    session = on_terminal(project, "-m", "otabuild", "build", "none.yaml")
    assert session.code == 1
    assert session.left[0] == "error: none.yaml: no such file"
    assert "\x1b[31merror:\x1b[0m" in session.text


def test_nothing_is_drawn_while_a_program_may_ask(project: Project) -> None:
    (project.root / "sign.sh").write_text(
        "sleep 1; printf 'PIN: ' > /dev/tty; openssl pkeyutl -sign -inkey pki/sign.key"
    )
    project.edit("key: {file: ../pki/sign.key}", "key: {command: [sh, sign.sh]}")
    session = on_terminal(project, *BUILD["otabuild"])
    assert session.code == 0, session.text
    before, asked, after = session.text.partition("PIN: ")
    assert asked
    assert before.endswith("sign:vehicle: not built yet\r\n")
    assert after.startswith(("build:vehicle", ERASE + "| build:vehicle"))


def test_who_is_waited_for(project: Project) -> None:
    os.makedirs(project.root / WORK)
    lock = WorkLock(str(project.root / WORK))
    lock.acquire(started="2025-01-01T00:00:00Z")
    running = project.start("-m", "otabuild", "build", RECIPE, "--wait")
    assert running.stderr
    told = running.stderr.readline()
    lock.release()
    out, _ = running.communicate(timeout=120)
    assert told == f"build/.otabuild: waiting for another build (pid {os.getpid()}, started 2025-01-01T00:00:00Z)\n"
    assert out.startswith("dist/vehicle.zip")


def test_parallel_tasks_keep_their_reasons(project: Project) -> None:
    done = project.doit("-n", "2", "build")
    assert done.code == 0
    reasons = [line for line in done.out.splitlines() if line.endswith("not built yet")]
    assert reasons
    assert all(re.fullmatch(r"   [a-z]+:vehicle(/main)?: not built yet", line) for line in reasons)


@pytest.mark.parametrize("front", BUILD)
def test_steps_fold_in_the_log_of_github(project: Project, front: str) -> None:
    done = project.run(*BUILD[front], GITHUB_ACTIONS="true")
    log = done.out + done.err
    assert log.count("::group::") == log.count("::endgroup::") == 7
    assert "::group::store:vehicle" in log
    project.edit("rootfs: main}", "rootfs: none}")
    failed = project.run(*BUILD[front], GITHUB_ACTIONS="true")
    log = failed.out + failed.err
    assert "::error file=recipes/vehicle.yaml,line=13,col=25,title=otabuild::" in log
    assert log.count("::group::") == log.count("::endgroup::")


def test_steps_fold_in_the_log_of_gitlab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setattr(time, "time", lambda: 5.0)
    told: list[str] = []
    with ci.grouped(told.append) as begin:
        begin("scan:a/b: not built yet")
        begin("store:a: x")
    assert told == [
        "\x1b[0Ksection_start:5:scan-a-b\r\x1b[0Kscan:a/b: not built yet",
        "\x1b[0Ksection_end:5:scan-a-b\r\x1b[0K",
        "\x1b[0Ksection_start:5:store-a\r\x1b[0Kstore:a: x",
        "\x1b[0Ksection_end:5:store-a\r\x1b[0K",
    ]
    assert ci.annotated("error: a:1:2: b") == "error: a:1:2: b"


def test_an_error_without_a_line_is_an_annotation_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert ci.annotated("error: 100%\n  hint: x").splitlines()[2] == "::error title=otabuild::100%25%0A  hint: x"


@pytest.mark.parametrize(
    ("env", "is_terminal", "coloured"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm"}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
    ],
)
def test_who_gets_colours(
    env: dict[str, str], is_terminal: bool, coloured: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("TERM", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with open(tmp_path / "out", "w", encoding="utf-8") as stream:
        monkeypatch.setattr(stream, "isatty", lambda: is_terminal, raising=False)
        assert (painted("error: x", stream) == "\x1b[31merror:\x1b[0m x") is coloured


@pytest.mark.parametrize(
    ("done", "total", "seconds", "line"),
    [
        (0, 0, 7, "x  7 s"),
        (5 << 20, 0, 70, "x  5.0 MiB, 1 min 10 s"),
        (1 << 30, 2 << 30, 1, "x  1.0 GiB of 2.0 GiB, 50 %"),
        (1 << 30, 2 << 30, 10, "x  1.0 GiB of 2.0 GiB, 50 %, 10 s left"),
        (1 << 20, 2 << 30, 100, "x  1.0 MiB of 2.0 GiB, 0 %"),
        (3, 2, 10, "x  3 B, 10 s"),
    ],
)
def test_what_is_left_is_told_when_it_means_something(
    done: int, total: int, seconds: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.0 + seconds)
    for name, value in (("what", "x"), ("done", done), ("total", total), ("since", 100.0)):
        monkeypatch.setattr(progress._Live, name, value)
    assert progress._line() == line
