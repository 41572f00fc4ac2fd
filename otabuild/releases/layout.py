"""What the files of a store are called, and what a claim says (docs/reference/stores.md)."""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

from otabuild.errors import FormatError, InputError, LimitError
from otabuild.format.digest import Blob, format_digest
from otabuild.format.release_name import check_release_name

BLOBS = "blobs/sha256/"
CLAIMS = "claims/"
RELEASES = "releases/"
WITHDRAWN = "withdrawn/"
PRUNERS = "prune/"
DOCUMENTS = "documents/"

_LARGEST_CLAIM = 512 << 20
_ID = re.compile(r"([^/@]+)@([0-9a-f]{64})")
_BLOB = re.compile(rf"{BLOBS}([0-9a-f]{{64}})")
_LINE = re.compile(rb"[0-9a-f]{64} (?:0|[1-9][0-9]{0,18})")
_DIGITS = 64


class ReleaseId(NamedTuple):
    """Which release: its name, and the SHA-256 (32 bytes) of its index.json."""

    name: str
    digest: bytes

    def __str__(self) -> str:
        """Return it as a part of keys: `1.4.2@<hex>`."""
        return f"{self.name}@{self.digest.hex()}"

    @property
    def claim(self) -> str:
        """The key of its claim."""
        return f"{CLAIMS}{self}"

    @property
    def mark(self) -> str:
        """The key of what says that it is withdrawn."""
        return f"{WITHDRAWN}{self}"

    @classmethod
    def of_key(cls, key: str) -> Self | None:
        """Return the release of a claim or mark; None if the key is not that of one."""
        found = _ID.fullmatch(key.partition("/")[2])
        if found is None:
            return None
        try:
            check_release_name(found[1])
        except InputError:
            return None
        return cls(found[1], bytes.fromhex(found[2]))


def release_file(name: str, file: str) -> str:
    """Return the key of a file of a release, such as `index.json`."""
    return f"{RELEASES}{name}/{file}"


def digest_of_key(key: str) -> bytes | None:
    """Return the digest (32 bytes) of the blob with this key; None if it is no blob's."""
    found = _BLOB.fullmatch(key)
    return found and bytes.fromhex(found[1])


def print_claim(blobs: Iterable[Blob]) -> bytes:
    """Return the text of a claim for these blobs: `<hex> <size>` on each line, sorted."""
    return "".join(f"{digest.hex()} {size}\n" for digest, size in sorted(blobs)).encode()


def parse_claim(chunks: Iterable[bytes], where: str) -> Iterator[Blob]:
    """Yield the blobs of a claim, each once.

    Args:
        chunks: its bytes; no more of them is taken than a claim may have.
        where: its key, for messages.

    Raises:
        FormatError: a line is not what `print_claim` writes, or not in its place.
        LimitError: over 512 MiB.
    """
    rest, last, size = b"", b"", 0
    for chunk in chunks:
        size += len(chunk)
        if size > _LARGEST_CLAIM:
            raise LimitError(
                "too large for a claim", where=where, expected=f"at most {_LARGEST_CLAIM} bytes"
            )
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            digits = line[:_DIGITS]
            if not _LINE.fullmatch(line) or digits <= last:
                raise _wrong_line(line, where)
            last = digits
            yield Blob(unhexlify(digits), int(line[_DIGITS:]))
        # Before its end has come: a claim without line ends must not fill the memory.
        if len(rest) > _DIGITS + 20:
            raise _wrong_line(rest, where)
    if rest:
        raise _wrong_line(rest, where)


def _wrong_line(line: bytes, where: str) -> FormatError:
    expected = "a digest, a space, a size and the end of the line, sorted by digest, each once"
    return FormatError(
        "not a line of a claim", where=where, observed=repr(line[:100]), expected=expected
    )


def describe(release: ReleaseId) -> str:
    """Return a release as people read it."""
    return f"{release.name} ({format_digest(release.digest)[:19]}…)"
