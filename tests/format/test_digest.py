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


def test_a_descriptor_says_what_it_was_made_of_and_nothing_else() -> None:
    made = Descriptor.make("application/x", DIGEST, 6, artifact_type="application/y", annotations={"key": 7})
    assert made.to_value() == {
        "mediaType": "application/x",
        "digest": format_digest(DIGEST),
        "size": 6,
        "artifactType": "application/y",
        "annotations": {"key": 7},
    }
    assert made.digest == DIGEST
    assert made.reading == (format_digest(DIGEST), 6, "application/x")
    of_bytes = Descriptor.of(b"bytes", "application/x")
    assert list(of_bytes.to_value()) == ["mediaType", "digest", "size"]
    assert of_bytes.size == 5


@pytest.mark.parametrize("changes", [{"size": -1}, {"size": 1.0}, {"digest": "sha256:0"}, {"mediaType": 1}], ids=str)
def test_what_is_no_descriptor(changes: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        Descriptor.from_value(Descriptor.of(b"", "application/x").to_value() | changes, "here")
    assert Descriptor.from_value(Descriptor.of(b"", "application/x").to_value() | {"more": 1}, "here").to_value()[
        "more"
    ]
