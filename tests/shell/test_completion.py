"""Completion: bash runs the script that `otabuild completion` prints."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from otabuild.cli import make_parser
from otabuild.commands.completion import completion_script

pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")


def complete(*words: str) -> set[str]:
    """Return what bash would offer for the last of these words."""
    line = " ".join(f"'{word}'" for word in words)
    ask = f'COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _otabuild; printf "%s\\n" "${{COMPREPLY[@]}}"'
    script = completion_script(make_parser()) + ask
    done = subprocess.run(["bash", "-eu", "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_commands() -> None:
    assert complete("otabuild", "ver") == {"verify", "verify-sign", "verify-resources", "version"}
    assert {"build", "plan", "completion"} <= complete("otabuild", "")


def test_options_of_the_command() -> None:
    assert complete("otabuild", "build", "--w") == {"--wait"}
    assert complete("otabuild", "-q", "deploy-image", "--to") == {"--to-tar"}
    assert complete("otabuild", "build", "--ca") == set()


def test_values_to_choose_from() -> None:
    assert complete("otabuild", "cache", "") >= {"show", "prune", "verify"}
    assert complete("otabuild", "ls", "image.zip", "--release-key", "p") == {"prd"}
    assert complete("otabuild", "pki", "d") == {"demo"}


def test_nothing_to_offer_leaves_it_to_file_names() -> None:
    assert complete("otabuild", "build", "recipes/") == set()
