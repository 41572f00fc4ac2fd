"""The names of architectures: what the format knows, under whatever name, is compared by its own name."""

from __future__ import annotations

import pytest

from otabuild.format.architectures import architecture_name, is_other_architecture


@pytest.mark.parametrize(
    ("name", "known"),
    [
        *((name, "x86_64") for name in ("x86_64", "X86_64", "amd64", "AMD64", "x64", "x86-64")),
        *((name, "arm64") for name in ("arm64", "ARM64", "aarch64", "armv8")),
        ("RISCV64", "RISCV64"),
        ("", ""),
    ],
)
def test_a_name_and_that_of_the_format(name: str, known: str) -> None:
    assert architecture_name(name) == known


@pytest.mark.parametrize(
    ("one", "two", "differ"),
    [
        ("amd64", "x86_64", False),
        ("amd64", "arm64", True),
        ("aarch64", "riscv64", True),
        ("mips", "riscv64", False),
        ("mips", "mips", False),
    ],
)
def test_names_that_certainly_mean_different_ones(one: str, two: str, *, differ: bool) -> None:
    assert is_other_architecture(one, two) == is_other_architecture(two, one) == differ
