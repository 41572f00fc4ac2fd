"""What the command is started with, and what the operating system refuses: one message, and no traceback."""

from __future__ import annotations

import getpass
import sys

import pytest

from otabuild import session
from otabuild.errors import InputError
from tests.shell.projects import Project

SIGN = ("sign", "x.zip", "--certificate", "pki/sign.pem", "--chain", "pki/intermediate.pem")
VERIFY = ("verify", "x.zip", "--ca", "pki/root-ca.pem")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((*SIGN, "--key", "command:sh -c 'x"), 1, "--key: no command (observed No closing quotation)"),
        ((*VERIFY, "--max-age=-99999999"), 2, "is no number of days"),
        ((*VERIFY, "--at", "0001-01-01T00:00:00+14:00"), 2, "is no time"),
    ],
)
def test_options_that_make_no_sense(project: Project, arguments: tuple[str, ...], code: int, text: str) -> None:
    done = project.otabuild(*arguments)
    assert (done.code, text in done.err) == (code, True), done.err


def test_a_source_date_epoch_that_is_no_time(project: Project) -> None:
    done = project.otabuild(*SIGN, "--key", "pki/sign.key", SOURCE_DATE_EPOCH="253402300800")
    assert (done.code, "SOURCE_DATE_EPOCH: is no time" in done.err) == (1, True), done.err


@pytest.mark.parametrize("error", [EOFError(), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no")])
def test_no_passphrase_at_the_prompt(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def ask(_what: str) -> str:
        raise error

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(getpass, "getpass", ask)
    with pytest.raises(InputError, match="passphrase"):
        session.make_workspace().prompt("Passphrase: ")
