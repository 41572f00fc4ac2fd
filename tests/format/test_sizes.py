"""Sizes as people read and write them."""

from __future__ import annotations

import pytest

from otabuild.format.sizes import human_change, human_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"), [("4096", 4096), ("1B", 1), ("1.5 KiB", 1536), ("300MiB", 300 << 20), ("2 TiB", 2 << 40)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1 << 30, "1.0 GiB"),
        (1 << 50, "1024.00 TiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_sizes_are_written(size: int, text: str) -> None:
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (1, 1, "1 B, size unchanged"),
        (1, 3, "1 B -> 3 B (+2 B)"),
        (3, 1, "3 B -> 1 B (-2 B)"),
        (None, 1, "unknown -> 1 B"),
        (1, None, "1 B -> unknown"),
    ],
)
def test_changes_are_written(before: int | None, after: int | None, text: str) -> None:
    assert human_change(before, after) == text
