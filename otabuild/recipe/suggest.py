"""Suggests similar words: "did you mean …?"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the most similar known word; None if none is similar (`cutoff`, 0 to 1)."""
    by_fold = {name.casefold().replace("_", "-"): name for name in known}
    folded = word.casefold().replace("_", "-")
    near = difflib.get_close_matches(folded[:200], by_fold, n=1, cutoff=cutoff)
    return by_fold[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return a question with the most similar known word, or an empty text; see `nearest`."""
    near = nearest(word, known, cutoff)
    return f"did you mean `{near}`?" if near else ""
