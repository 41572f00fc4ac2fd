"""Digests and descriptors (section 1)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, Field, StrictInt, StrictStr

from otabuild.errors import FormatError, IntegrityError
from otabuild.format.annotations import Annotations
from otabuild.format.document import Document

_HEX = re.compile(r"[0-9a-f]{64}")


def _checked(text: str) -> str:
    algorithm, _, digits = text.partition(":")
    if algorithm != "sha256" or not _HEX.fullmatch(digits):
        raise ValueError("is not a digest: expected `sha256:` and 64 lowercase hex digits")
    return text


DigestText = Annotated[StrictStr, AfterValidator(_checked)]
"""`sha256:` and 64 lowercase hex digits."""


def parse_digest(text: str) -> bytes:
    """Return the 32 bytes that `sha256:<hex>` stands for.

    Raises:
        FormatError: the text is not such a digest.
    """
    try:
        return bytes.fromhex(_checked(text)[7:])
    except ValueError:
        raise FormatError(
            "not a digest", observed=text[:100], expected="sha256: and 64 lowercase hex digits"
        ) from None


def format_digest(digest: bytes) -> str:
    """Return `sha256:<hex>` for a 32-byte digest."""
    return f"sha256:{digest.hex()}"


def blob_name(digest: bytes) -> str:
    """Return the path of a blob, relative to the image, from its 32-byte digest."""
    return f"blobs/sha256/{digest.hex()}"


def sha256_of(parts: Iterable[bytes | memoryview]) -> bytes:
    """Return the SHA-256 (32 bytes) of what comes in parts."""
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(part)
    return sha256.digest()


class Blob(NamedTuple):
    """Which bytes: their SHA-256 (32 bytes) and their size. The one name for the two together."""

    digest: bytes
    size: int


Reading = tuple[str, int, str]
"""Digest, size in bytes, and media type."""


class Descriptor(Document):
    """A reference to a blob by media type, digest and size in bytes."""

    media_type: StrictStr = Field(alias="mediaType")
    digest_text: DigestText = Field(alias="digest")
    size: StrictInt = Field(ge=0)
    artifact_type: StrictStr | None = Field(default=None, alias="artifactType")
    annotations: Annotations | None = None

    @property
    def digest(self) -> bytes:
        """The 32 bytes of the digest."""
        return bytes.fromhex(self.digest_text[7:])

    @property
    def reading(self) -> Reading:
        """How the blob is to be read: one that lies about it is not the same as an honest one."""
        return self.digest_text, self.size, self.media_type

    @classmethod
    def of(cls, blob: bytes, media_type: str) -> Descriptor:
        """Return the descriptor of these bytes."""
        return cls.make(media_type, hashlib.sha256(blob).digest(), len(blob))

    @classmethod
    def make(
        cls,
        media_type: str,
        digest: bytes,
        size: int,
        *,
        artifact_type: str | None = None,
        annotations: dict[str, Any] | None = None,
    ) -> Descriptor:
        """Make a descriptor from its parts; the digest is 32 bytes."""
        return cls(
            media_type=media_type,
            digest_text=format_digest(digest),
            size=size,
            artifact_type=artifact_type,
            annotations=annotations,
        )

    def check_media_type(self, what: str, *allowed: str) -> None:
        """Check the media type; `what` names the descriptor in its document.

        Raises:
            ValueError: it is none of those allowed, of which the message names the first.
        """
        if self.media_type not in allowed:
            raise ValueError(f"{what} has the media type {self.media_type!r}, not {allowed[0]}")

    def verify(self, blob: bytes, where: str) -> None:
        """Check bytes against the descriptor.

        Raises:
            IntegrityError: the SHA-256 or the size differs.
        """
        observed = hashlib.sha256(blob).digest()
        if observed != self.digest:
            raise IntegrityError(
                "content does not match its digest",
                where=where,
                observed=format_digest(observed),
                expected=self.digest_text,
            )
        if len(blob) != self.size:
            raise IntegrityError(
                "size differs from the descriptor",
                where=where,
                observed=len(blob),
                expected=self.size,
            )
