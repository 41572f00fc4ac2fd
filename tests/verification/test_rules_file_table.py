"""What a path of a file table may be, at its bounds."""

from __future__ import annotations

import pytest

from otabuild.verification.rules_file_table import _path_problem

LONGEST = (b"/" + b"d" * 254) * 16 + b"/" + b"f" * 14
"""4,095 bytes."""


@pytest.mark.parametrize("path", [b"/", b"/a", LONGEST, b"/" + b"n" * 255, "/\xe4".encode()], ids=len)
def test_legal_paths(path: bytes) -> None:
    assert _path_problem(path) is None


@pytest.mark.parametrize("path", [b"", b"a", LONGEST + b"f", b"/" + b"n" * 256, b"/a/", b"/a\0", b"/\xff"], ids=len)
def test_other_paths(path: bytes) -> None:
    assert _path_problem(path) is not None
