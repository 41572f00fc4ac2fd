"""The environment of the command, and refusals of the operating system: one message, and no traceback."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from otabuild import api, cli, session
from otabuild.errors import InputError
from otabuild.storage.cache import Cache
from tests.shell.projects import Project

SIGN = ("sign", "x.zip", "--certificate", "pki/sign.pem", "--chain", "pki/intermediate.pem")
VERIFY = ("verify", "x.zip", "--ca", "pki/root-ca.pem")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((*SIGN, "--key", "command:sh -c 'x"), 1, "--key: no command (observed No closing quotation)"),
        ((*VERIFY, "--max-age=-99999999"), 2, "is not a number of days"),
        ((*VERIFY, "--at", "0001-01-01T00:00:00+14:00"), 2, "is not a valid time"),
    ],
)
def test_options_that_make_no_sense(project: Project, arguments: tuple[str, ...], code: int, text: str) -> None:
    done = project.otabuild(*arguments)
    assert (done.code, text in done.err) == (code, True), done.err


def test_a_source_date_epoch_that_is_no_time(project: Project) -> None:
    done = project.otabuild(*SIGN, "--key", "pki/sign.key", SOURCE_DATE_EPOCH="253402300800")
    assert (done.code, "SOURCE_DATE_EPOCH: is not a valid time" in done.err) == (1, True), done.err


@pytest.mark.parametrize("error", [EOFError(), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no")])
def test_no_passphrase_at_the_prompt(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def ask(_what: str) -> str:
        raise error

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(getpass, "getpass", ask)
    with pytest.raises(InputError, match="passphrase"):
        session.make_workspace().prompt("Passphrase: ")


def shell(project: Project, command: str) -> tuple[int, str]:
    """Exit code, and what stands in `told`, of a command line of the shell in which $OTABUILD is the command."""
    (project.root / "told").write_text("")
    environment = project.environment(OTABUILD=f"{sys.executable} -m otabuild")
    done = subprocess.run(["sh", "-c", command], cwd=project.root, env=environment, check=False)
    return done.returncode, (project.root / "told").read_text()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written(project: Project) -> None:
    code, told = shell(project, "$OTABUILD schema > /dev/full 2> told")
    assert (code, told.startswith("error: standard output: cannot write (observed No space left")) == (1, True), told
    assert "Traceback" not in told
    assert "Exception ignored" not in told
    assert shell(project, "$OTABUILD build nowhere.yaml 2> /dev/full > told") == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_verdict_that_cannot_be_written_is_none(project: Project) -> None:
    project.build()
    code, told = shell(project, "$OTABUILD verify dist/vehicle.zip --no-signature > /dev/full 2> told")
    assert (code, told) == (4, "error: standard output: cannot write (observed No space left on device)\n")


def test_an_interrupt_before_the_command_begins_is_no_traceback(project: Project) -> None:
    check = "import signal, otabuild.__main__; assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL"
    assert project.run("-c", check).code == 0


def test_streams_that_are_closed(project: Project) -> None:
    assert shell(project, "$OTABUILD version >&- 2> told") == (0, "")
    assert shell(project, "$OTABUILD build nowhere.yaml 2>&- > told") == (1, "")
    assert shell(project, "$OTABUILD version <&- >&- 2>&-") == (0, "")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(5, "Input/output error", "x"), "x: the operating system failed (observed Input/output error)"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("can't start new thread"), "cannot start a thread"),
    ],
)
def test_whatever_the_operating_system_refuses_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, text: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(api, "build", fail)
    monkeypatch.setattr(session, "handle_signals", lambda: None)
    assert cli.main(["build", str(project.recipe)]) == 1
    assert f"error: {text}" in capsys.readouterr().err


def test_a_bug_of_ours_is_no_such_error() -> None:
    assert session.known(RecursionError("maximum recursion depth exceeded")) is None


def test_a_pack_that_was_lost_is_no_hindrance(tmp_path: Path) -> None:
    for number in (1, 2):
        with Cache(str(tmp_path)) as cache:
            cache.mark_used([cache.add(bytes([number]) * 100)], number)
    (tmp_path / "packs/2").unlink()
    with Cache(str(tmp_path)) as cache:
        assert cache.shrink(100, spare=9) == 1
