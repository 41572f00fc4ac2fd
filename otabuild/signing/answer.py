"""Parses signatures made elsewhere, in any form that a program, token or key service has."""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from otabuild.errors import FormatError
from otabuild.format import limits
from otabuild.format.index_jwt import SIGNATURE_SIZE
from otabuild.format.json_text import load_json

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order n of P-256: r and s are in 1 to n-1."""
_SIGNATURE_FIELDS = ("Signature", "signature", "value", "Value")
"""Of AWS; of Google, Vault and Azure's command line; of Azure's REST interface; of Alibaba
Cloud."""
_ALGORITHM_FIELDS = ("SigningAlgorithm", "algorithm")
_ALGORITHMS = ("ECDSA_SHA_256", "ES256")
_VAULT = re.compile(rb"^vault:v[0-9]+:")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]+={0,2}")
_UNICODE = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_STANDARD = bytes.maketrans(b"-_", b"+/")


def parse_answer(raw: bytes, where: str) -> bytes:
    """Return the signature in an answer: DER or raw r‖s, however programs and services write it.

    Understood are binary, hex, base64 and base64url; Vault's prefix `vault:v1:`; a JSON string, as
    `aws … --query Signature` prints it; the JSON responses of AWS KMS, Google Cloud KMS, Azure Key
    Vault, Vault and Alibaba Cloud; and a table or line with one of these among other words. Text
    may be in UTF-8 or UTF-16 with a mark, as PowerShell writes it. A high s is not changed, because
    readers accept both halves.

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
        expected=(
            "DER or raw r and s (64 bytes), binary, base64, base64url or hex, or the JSON response "
            "of a key service"
        ),
    )


def _readings(raw: bytes, where: str) -> Iterator[bytes]:
    """Yield the possible meanings of the bytes, the most exact one first."""
    yield raw
    # A program may end its output with a line end.
    yield raw.removesuffix(b"\n").removesuffix(b"\r")
    for mark, encoding in _UNICODE.items():
        if raw.startswith(mark):
            raw = raw.removeprefix(mark).decode(encoding, "replace").encode()
    if raw.lstrip()[:1] in (b"{", b'"'):
        raw = _signature_in_json(raw, where).encode("utf-8", "replace")
    words = raw.split()
    yield from _decoded(b"".join(words))  # lines of one text
    for word in words:  # one word of a table
        yield from _decoded(word)


def _decoded(word: bytes) -> Iterator[bytes]:
    text = _VAULT.sub(b"", word)
    if re.fullmatch(rb"([0-9A-Fa-f]{2})+", text):
        yield bytes.fromhex(text.decode())
    # Either alphabet, padded or not: a service's SDK may drop the padding.
    if _BASE64.fullmatch(text):
        unpadded = text.rstrip(b"=").translate(_STANDARD)
        if len(unpadded) % 4 != 1:
            yield base64.b64decode(unpadded + b"=" * (-len(unpadded) % 4), validate=True)


def _signature_in_json(raw: bytes, where: str) -> str:
    """Return the signature's text in a key service's JSON.

    null and unknown fields are theirs to write.
    """
    try:
        response = load_json(raw[: limits.JWT])
    except ValueError as error:
        raise FormatError(
            "the answer is not JSON, although it starts like it", where=where, observed=error
        ) from None
    if isinstance(response, str):
        return response
    if isinstance(response.get("data"), dict):  # Vault
        response = response["data"]
    for name in _ALGORITHM_FIELDS:
        algorithm = response.get(name, _ALGORITHMS[0])
        if algorithm not in _ALGORITHMS:
            raise FormatError(
                "signed with the wrong algorithm",
                where=where,
                observed=str(algorithm)[:80],
                expected=" or ".join(_ALGORITHMS),
            )
    found = [response[name] for name in _SIGNATURE_FIELDS if isinstance(response.get(name), str)]
    if not found:
        raise FormatError(
            "the JSON answer has no signature",
            where=where,
            observed=f"fields {', '.join(map(str, response))}"[:200],
            expected=f"a field {', '.join(_SIGNATURE_FIELDS)} with text",
        )
    return str(found[0])


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
