"""Every parser over its corpus, and over some seeded changes of it; `make fuzz` looks further."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.target import CORPUS, corpus
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_corpus(name: str) -> None:
    for path in corpus(name):
        TARGETS[name].run(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_changed(name: str) -> None:
    target, random = TARGETS[name], Random(name)
    good = [path.read_bytes() for path in corpus(name)]
    for _ in range(target.rounds):
        data = random.choice(good)
        for _ in range(random.choice((1, 1, 2))):
            data = target.mutate(data, random)
        try:
            target.run(data)
        except BaseException as error:
            error.add_note(f"input: {data!r}")
            raise


def test_every_corpus_has_a_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
