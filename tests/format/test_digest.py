"""Digests as text, and blobs that are not what their descriptor says (section 1)."""

from __future__ import annotations

import pytest

from otabuild.errors import FormatError, IntegrityError
from otabuild.format.digest import Descriptor, blob_name, format_digest, parse_digest

DIGEST = bytes(range(32))


def test_a_digest_and_its_text() -> None:
    assert parse_digest(format_digest(DIGEST)) == DIGEST
    assert format_digest(DIGEST) == f"sha256:{DIGEST.hex()}"
    assert blob_name(DIGEST) == f"blobs/sha256/{DIGEST.hex()}"


@pytest.mark.parametrize("text", ["", "sha256:", f"sha512:{DIGEST.hex()}", f"sha256:{DIGEST.hex()}0", DIGEST.hex()])
def test_what_is_no_digest(text: str) -> None:
    with pytest.raises(FormatError, match="not a digest") as caught:
        parse_digest(text)
    assert caught.value.observed == text
    assert caught.value.expected == "sha256: and 64 lowercase hex digits"
    with pytest.raises(FormatError, match="not a digest"):
        parse_digest(format_digest(b"\xab" * 32).upper())


def test_other_bytes_and_another_size_are_refused() -> None:
    found = Descriptor.of(b"bytes", "application/x")
    found.verify(b"bytes", "here")
    with pytest.raises(IntegrityError, match="content does not match its digest") as caught:
        found.verify(b"other", "here")
    assert (caught.value.where, caught.value.expected) == ("here", found.digest_text)
    wrong = Descriptor.make("application/x", found.digest, 6)
    with pytest.raises(IntegrityError, match="size differs from the descriptor") as caught:
        wrong.verify(b"bytes", "here")
    assert (caught.value.where, caught.value.observed, caught.value.expected) == ("here", "5", "6")
