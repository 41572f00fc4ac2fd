"""JSON is nested at most 32 deep, on every Python and in every thread, wherever it comes from."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otabuild.errors import FormatError, InputError, LimitError, StateError
from otabuild.format import limits
from otabuild.format.document import parse_json
from otabuild.format.json_text import NestingError, load_json
from otabuild.rootfs.container_files import DirectoryFiles, read_document
from otabuild.signing.answer import parse_answer
from otabuild.storage.lock import WorkLock


def nested(depth: int, opening: str = "[", inside: str = "", closing: str = "]") -> bytes:
    return (opening * depth + inside + closing * depth).encode()


DEEP = nested(limits.JSON_DEPTH + 1, '{"a":', "1", "}")


@pytest.mark.parametrize(
    ("opening", "inside", "closing"), [("[", "", "]"), ('{"[":', "1", "}"), ('[["]]",', "1", "]]")]
)
def test_the_limit_is_that_of_the_format(opening: str, inside: str, closing: str) -> None:
    times = limits.JSON_DEPTH // len(closing)
    assert load_json(nested(times, opening, inside, closing))
    with pytest.raises(NestingError, match="nested more than 32 deep"):
        load_json(nested(times + 1, opening, inside, closing))


@pytest.mark.parametrize("before", [b"[]", b"{}", b"[[[[]]]]", b'"]]"', b'{"a":[{}]}'])
def test_what_is_closed_is_no_longer_deep(before: bytes) -> None:
    depth = limits.JSON_DEPTH - 10
    inside = b"[" + before + b"," + nested(depth) + b"]"
    assert load_json(nested(9).replace(b"[]", b"[" + inside + b"]"))
    with pytest.raises(NestingError):
        load_json(nested(10).replace(b"[]", b"[" + inside + b"]"))


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'{"a":' * 100_000, nested(100_000)])
def test_the_parser_of_python_never_sees_more(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("it was asked"))
    with pytest.raises(NestingError):
        load_json(raw)


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(alphabet='[]{}"\\aä\n'), st.lists)


@given(VALUES | st.dictionaries(st.text(alphabet='[]{}"\\'), VALUES), st.booleans())
def test_brackets_in_strings_do_not_count(value: object, ascii_only: bool) -> None:
    raw = json.dumps([value, "]" * 50, "[" * 50, '"[\\' * 50], ensure_ascii=ascii_only).encode()
    assert load_json(raw) == json.loads(raw)


@given(st.text(alphabet='[]{}"\\,:1 ') | st.binary())
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    raw = text if isinstance(text, bytes) else text.encode()
    try:
        expected = json.loads(raw.decode())
    except ValueError:
        with pytest.raises(ValueError):
            load_json(raw)
    else:
        assert load_json(raw) == expected


def _container(folder: Path) -> object:
    (folder / "index.json").write_bytes(DEEP)
    return read_document(DirectoryFiles(str(folder)), "index.json")


READERS: dict[str, tuple[Callable[[Path], object], type[Exception]]] = {
    "a document of the format": (lambda _: parse_json(DEEP, "document"), LimitError),
    "an answer of a key service": (lambda _: parse_answer(DEEP, "answer"), FormatError),
    "a container image": (_container, InputError),
}


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_has_the_limit(reader: str, tmp_path: Path) -> None:
    read, error = READERS[reader]
    with pytest.raises(error, match=r"nested (more than 32 deep|too deeply)"):
        read(tmp_path)


def test_a_lock_whose_holder_wrote_nonsense_is_still_held(tmp_path: Path) -> None:
    lock = WorkLock(str(tmp_path))
    with (tmp_path / "lock").open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(b"[" * 4096)
        other.flush()
        with pytest.raises(StateError, match="a process that has just started"):
            lock.acquire(started="now")
    lock.release()
