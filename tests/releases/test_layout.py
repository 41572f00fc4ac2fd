"""Names of releases, and claims of anybody."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from otabuild.errors import FormatError, InputError, LimitError
from otabuild.format.digest import Blob
from otabuild.format.release_name import check_release_name
from otabuild.releases.layout import ReleaseId, digest_of_key, parse_claim, print_claim

DIGEST = bytes(range(32))


@pytest.mark.parametrize("name", ["1.4.2", "v1-3-gabc+dirty_x~1", "ü", "a b", "100%", "1", "x" * 128])
def test_a_release_may_have_this_name(name: str) -> None:
    check_release_name(name)
    id_ = ReleaseId(name, DIGEST)
    assert ReleaseId.of_key(id_.claim) == ReleaseId.of_key(id_.mark) == id_


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".a", "a/b", "a@b", "a\\b", "a\n", "\x1b[31m", "\u202eabc", " a", "a ", "\ud800", "ü" * 65]
)
def test_a_release_may_not_have_this_name(name: str) -> None:
    with pytest.raises(InputError, match="not a name for a release"):
        check_release_name(name)
    assert ReleaseId.of_key(f"claims/{name}@{DIGEST.hex()}") is None


@pytest.mark.parametrize(
    "key", ["claims/1.0", "claims/1.0@", "claims/1.0@00", f"claims/a/1.0@{DIGEST.hex()}", f"claims/1@{DIGEST.hex()}0"]
)
def test_other_files_are_not_of_a_release(key: str) -> None:
    assert ReleaseId.of_key(key) is None


def test_a_claim_is_read_as_it_was_written() -> None:
    blobs = [Blob(bytes([number]) * 32, size) for number, size in ((9, 0), (1, 10**12), (255, 7))]
    text = print_claim(blobs)
    assert text.splitlines()[0] == b"01" * 32 + b" 1000000000000"
    for step in (1, 7, 66, len(text)):
        parts = (text[at : at + step] for at in range(0, len(text), step))
        assert list(parse_claim(parts, "claims/x")) == sorted(blobs)
    assert list(parse_claim([], "claims/x")) == []


LINE = b"11" * 32 + b" 5\n"


@pytest.mark.parametrize(
    "text",
    [
        LINE[:-1],
        LINE + LINE,
        b"22" * 32 + b" 5\n" + LINE,
        LINE.replace(b"\n", b"\r\n"),
        LINE.replace(b" ", b"  "),
        LINE.replace(b" 5", b" -5"),
        LINE.replace(b" 5", b" 05"),
        LINE.replace(b" 5", b" " + b"9" * 20),
        LINE.replace(b"11", b"AA"),
        b"\n",
        b"\x00" * 100,
        b"not a claim\n",
    ],
)
def test_what_is_not_a_claim_is_an_error(text: bytes) -> None:
    with pytest.raises(FormatError, match="not a line of a claim"):
        list(parse_claim([text], "claims/x"))


def test_a_line_without_end_is_an_error_at_once() -> None:
    with pytest.raises(FormatError):
        list(parse_claim(itertools.repeat(b"1" * 1000), "claims/x"))


def test_a_claim_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otabuild.releases.layout._LARGEST_CLAIM", 10_000)

    def endless() -> Iterator[bytes]:
        for number in itertools.count():
            yield f"{number:064x} 1\n".encode()

    with pytest.raises(LimitError, match="too large"):
        for _ in parse_claim(endless(), "claims/x"):
            pass


@pytest.mark.parametrize(
    "key", ["blobs/sha256/00", "blobs/sha256/" + "g" * 64, "blobs/" + "0" * 64, "claims/" + "0" * 64]
)
def test_other_files_are_not_blobs(key: str) -> None:
    assert digest_of_key(key) is None
