"""What a fuzz target is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from otabuild.errors import OtabuildError
from tests.fuzz import mutations

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Target:
    """A parser, what it is fed first, and how its input is changed so that it still gets past the first check.

    Attributes:
        read: reads the bytes as the program would. It returns or raises OtabuildError; anything else is a finding.
        seeds: good inputs by name; `python -m tests.fuzz.generate` writes them to the corpus.
        mutate: returns a changed input; by default any bytes may change.
        rounds: how many mutations `make test` tries.
    """

    read: Callable[[bytes], object]
    seeds: Callable[[], Mapping[str, bytes]]
    mutate: Callable[[bytes, Random], bytes] = mutations.of_bytes
    rounds: int = 300

    def run(self, data: bytes) -> None:
        """Read the input; only an exception that is a finding gets out."""
        try:
            self.read(data)
        except OtabuildError as error:
            str(error).encode()  # a message that cannot be printed is a traceback, too


def corpus(name: str) -> list[Path]:
    """Return the files of a target's corpus: seeds, and what once was a finding."""
    return sorted((CORPUS / name).iterdir())
