"""Parses signatures made elsewhere, in any form that a program, a token or a key service returns."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from otabuild.errors import FormatError
from otabuild.format import limits
from otabuild.format.document import parse_json
from otabuild.format.index_jwt import SIGNATURE_SIZE

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order n of P-256: r and s are in 1 to n-1."""


def parse_answer(raw: bytes, where: str) -> bytes:
    """Return the signature in an answer: DER or raw r‖s, binary, hex or base64, or the JSON response of AWS KMS `Sign`.

    A high s is not changed, because readers accept both halves.

    Args:
        raw: the answer.
        where: the source of the answer, for messages.

    Returns:
        r and s, 64 bytes.

    Raises:
        FormatError: the answer has no P-256 signature.
    """
    for candidate in _readings(raw, where):
        signature = _raw_signature(candidate)
        if signature is not None:
            return signature
    raise FormatError(
        "the answer is not an ES256 signature",
        where=where,
        observed=f"{len(raw)} bytes",
        expected="DER or raw r and s (64 bytes), binary, base64 or hex, or the JSON response of AWS KMS",
    )


def _readings(raw: bytes, where: str) -> Iterator[bytes]:
    """Yield the possible meanings of the bytes, the most exact one first."""
    yield raw
    yield raw.removesuffix(b"\n").removesuffix(b"\r")  # a program may end its output with a line end
    if raw.lstrip().startswith(b"{"):
        raw = _kms_signature(parse_json(raw, where, limits.JWT), where).encode()
    text = b"".join(raw.split())
    if re.fullmatch(rb"([0-9A-Fa-f]{2})+", text):
        yield bytes.fromhex(text.decode())
    try:
        yield base64.b64decode(text, validate=True)
    except ValueError:
        return


def _kms_signature(response: dict[str, Any], where: str) -> str:
    signature = response.get("Signature")
    if not isinstance(signature, str):
        raise FormatError("the JSON answer has no `Signature`", where=where)
    algorithm = response.get("SigningAlgorithm", "ECDSA_SHA_256")
    if algorithm != "ECDSA_SHA_256":
        raise FormatError(
            "signed with the wrong algorithm", where=where, observed=str(algorithm)[:80], expected="ECDSA_SHA_256"
        )
    return signature


def _raw_signature(candidate: bytes) -> bytes | None:
    if len(candidate) == SIGNATURE_SIZE:
        r, s = int.from_bytes(candidate[:32], "big"), int.from_bytes(candidate[32:], "big")
    else:
        try:
            r, s = decode_dss_signature(candidate)
        except ValueError:
            return None
    if not (0 < r < _ORDER and 0 < s < _ORDER):
        return None
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")
