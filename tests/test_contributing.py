"""CONTRIBUTING.md: its table of files to touch is that of the code, and its reading list exists and stays an evening."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.files_to_touch import KINDS, Kind, files, table

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_table_is_that_of_the_code() -> None:
    assert table() in PAGE, "run python -m tools.files_to_touch, and put its output into CONTRIBUTING.md"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.example)
def test_what_is_added_now_and_then_touches_few_files(kind: Kind) -> None:
    assert 1 <= len(files(kind)) <= kind.most, files(kind)


def test_the_reading_list_exists_and_can_be_read_in_an_evening() -> None:
    listed = re.findall(r"^\d+\. `(otabuild/[\w/]+\.py)`", PAGE, re.MULTILINE)
    lines = sum(len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in listed)
    assert len(listed) >= 12
    assert 2000 <= lines <= 3200, lines
