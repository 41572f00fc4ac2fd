"""Pins every refusal that the tests of a room provoke: class, place, words, facts and hint.

It is a plugin of pytest. Where `golden/refusals.json` lies beside a test file, each OtabuildError that a `pytest.raises` of
the file catches must stand there under the name of the test, as a user would read it. `python -m tests.refusals signing`
makes the file of a room anew; read its diff before you commit it. Sweeps, which provoke more than can be read, stand
there without what they say.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import TracebackType

import pytest

from otabuild.errors import OtabuildError

_ROOMS = Path(__file__).parent
_SWEEP = 16_384
"""A test whose refusals have more characters is a sweep."""


Pin = Callable[[OtabuildError], None]


@pytest.fixture(name="pin", autouse=True)
def _pin(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pin]:
    """Compare what a test catches; a test may also call it with an error that nobody raised."""
    golden = request.path.parent / "golden" / "refusals.json"
    fresh: dict[str, set[str]] | None = getattr(request.config, "fresh_refusals", None)
    is_random = hasattr(request.function, "hypothesis")
    if is_random or not golden.exists():
        yield lambda _error: None
        return
    name, told = f"{request.path.name}: {request.function.__name__}", list[str]()
    known = [] if fresh is not None else _golden(golden).get(name, [])
    scratch = str(tmp_path_factory.getbasetemp())
    leave = pytest.RaisesExc.__exit__

    def record(
        self: pytest.RaisesExc[BaseException],
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if isinstance(error, OtabuildError):
            told.append(_told(error, scratch))
        return leave(self, kind, error, trace)

    monkeypatch.setattr(pytest.RaisesExc, "__exit__", record)
    yield lambda error: told.append(_told(error, scratch))
    if fresh is not None:
        fresh.setdefault(name, set()).update(told)
        return
    strange = [] if known is None else [text for text in told if text not in known]
    assert not strange, f"if this is meant, run `python -m tests.refusals {request.path.parent.name}`"


@cache
def _golden(file: Path) -> dict[str, list[str] | None]:
    found: dict[str, list[str] | None] = json.loads(file.read_text("utf-8"))
    return found


def _told(error: OtabuildError, scratch: str) -> str:
    """Return what an error says, without what differs from run to run, or from one version of a library to the next."""
    text, cause = f"{type(error).__name__}: {error}", error.__context__
    while cause:
        for words in (str(cause), str(getattr(cause, "problem", ""))):  # the latter of YAML's
            if not isinstance(cause, OtabuildError | OSError) and " " in words:
                text = text.replace(words, "…")
        cause = cause.__context__
    text = re.sub(rf"{re.escape(scratch)}/[^/ :,]+/", "TMP:", text)
    text = re.sub(rf"{re.escape(scratch)}/[^/ :,]+", "TMP", text)
    text = text.replace(sys.executable, "python")
    if os.geteuid() != 0:  # root makes the golden files, with trees of these two users
        user = pwd.getpwuid(os.geteuid())
        text = text.replace(f"by user {user.pw_name} ", "by user nobody ")
        text = text.replace(f"owner of / is {user.pw_uid}:{user.pw_gid}", "owner of / is 1000:1000")
    text = re.sub(r"(descriptor |doit build |slot-id=)\d+", r"\g<1>N", text)
    text = re.sub(r"over \d+( bytes[a-z ]* from )\d+", r"over N\g<1>N", text)  # of what a library compressed
    return re.sub("[0-9a-f]{64}", "*", text)


def main() -> int:
    """Write the golden files of the rooms that are named, and return what pytest does."""
    code = 0
    for room in sys.argv[1:]:
        fresh = dict[str, set[str]]()
        golden = _ROOMS / room / "golden" / "refusals.json"
        golden.parent.mkdir(exist_ok=True)
        golden.touch()
        code |= pytest.main(["-q", "-p", "no:cacheprovider", str(_ROOMS / room)], [_Fresh(fresh)])
        told = {
            name: sorted(texts) if sum(map(len, texts)) <= _SWEEP else None
            for name, texts in sorted(fresh.items())
            if texts
        }
        golden.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return code


class _Fresh:
    """Has the fixture collect what it would compare."""

    def __init__(self, fresh: dict[str, set[str]]) -> None:
        self._fresh = fresh

    def pytest_configure(self, config: pytest.Config) -> None:
        config.fresh_refusals = self._fresh  # type: ignore[attr-defined]  # known to the fixture alone


if __name__ == "__main__":
    sys.exit(main())
