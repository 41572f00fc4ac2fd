"""Texts that must be texts, and counts that must be whole numbers from 0 (sections 2 to 4)."""

from __future__ import annotations

import pytest

from otabuild.errors import FormatError
from otabuild.format import annotations as ann
from otabuild.format.index import Index
from tests.image import forge


@pytest.mark.parametrize("value", [-1, -(2**63), 1.0, True, "1", None, [1]], ids=repr)
def test_what_is_no_count(value: object) -> None:
    key = ann.BLOBS_COUNT
    with pytest.raises(ValueError, match="not a whole number from 0") as caught:
        ann.check_counts({key: value, "other": value}, ann.LABEL_COUNTS)
    assert str(caught.value) == f"{key} is {value!r}, not a whole number from 0"


@pytest.mark.parametrize("value", [0, 1, 2**63])
def test_what_is_a_count(value: int) -> None:
    ann.check_counts(dict.fromkeys(ann.LABEL_COUNTS, value), ann.LABEL_COUNTS)


def test_every_wrong_count_is_named() -> None:
    with pytest.raises(ValueError, match="; ") as caught:
        ann.check_counts({ann.BLOBS_COUNT: -1, ann.BLOBS_SIZE: -2, ann.DIRS_COUNT: 3}, ann.LABEL_COUNTS)
    assert str(caught.value).count("not a whole number") == 2


@pytest.mark.parametrize("key", sorted(ann.INDEX_COUNTS))
def test_an_index_with_a_negative_count_is_refused(key: str) -> None:
    forged = forge.forge(index=lambda value: value["annotations"].__setitem__(key, -1))
    with pytest.raises(FormatError, match="is -1, not a whole number from 0"):
        Index.parse(dict(forged.files)["index.json"])


@pytest.mark.parametrize("key", sorted(ann.INDEX_STRINGS))
def test_an_index_whose_text_is_a_number_is_refused(key: str) -> None:
    forged = forge.forge(index=lambda value: value["annotations"].__setitem__(key, 1))
    with pytest.raises(FormatError, match="is 1, not a string"):
        Index.parse(dict(forged.files)["index.json"])
