"""The bytes of images are an interface: the same input gives the bytes that it gave when they were pinned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.golden.pins import FILE, LIBRARIES, libraries_of, pins_of
from tests.golden.worlds import CASES

PINNED = json.loads(FILE.read_text(encoding="utf-8"))
OTHER = {library for library, version in LIBRARIES.items() if PINNED["libraries"][library] != version}


@pytest.mark.parametrize("case", CASES)
def test_an_image_has_the_bytes_that_were_pinned(case: str, tmp_path: Path) -> None:
    found, pinned = pins_of(case, tmp_path), PINNED["pins"][case]
    comparable = {name for name in {*found, *pinned} if not libraries_of(name) & OTHER}
    changed = sorted(name for name in comparable if found.get(name) != pinned.get(name))
    assert not changed, (
        f"the bytes of {', '.join(changed)} changed. If that is meant: run python -m tests.golden.generate, and say "
        "in a changelog fragment of the kind `bytes` what changed and why"
    )
    if OTHER:
        pytest.skip(f"pinned with {PINNED['libraries']}, here are {LIBRARIES}: the pins these affect were not compared")


def test_every_pin_belongs_to_a_case() -> None:
    assert sorted(PINNED["pins"]) == sorted(CASES)
