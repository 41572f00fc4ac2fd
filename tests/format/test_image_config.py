"""The version of a Jetson's board support package, as its file names it (section 4)."""

from __future__ import annotations

import pytest

from otabuild.format.image_config import jetson_bsp_version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (b"# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref\nmore", "R35.4.1"),
        (b"# R36 (release), REVISION: 3.0,", "R36.3.0"),
        (b"# R35 (release), REVISION: 4.1, \xff", "R35.4.1"),
        (b"\n# R35 (release), REVISION: 4.1,", None),
        (b"# R35 (release), REVISION: x,", None),
        (b" # R35 (release), REVISION: 4.1,", None),
        (b"", None),
    ],
)
def test_the_first_line_has_the_version(text: bytes, version: str | None) -> None:
    assert jetson_bsp_version(text) == version
