"""metadata.jwt and certificate.pem: what clients of the previous generation read first (section 9).

metadata.jwt resembles a JWS but is not one: it has base64url with padding, a list of claims, and a
DER signature. The claims are the same for every image, except for the digest of certificate.pem.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from otabuild.errors import FormatError, TrustError
from otabuild.format import limits
from otabuild.format.certificate import der_signature, parse_pem_certificate, signing_key
from otabuild.format.document import dump_json, parse_json

NAME = "metadata.jwt"
CERTIFICATE_NAME = "certificate.pem"
FOLDER = "data/opt/ota/otaclient_release/"
"""The place of the release folder for these clients."""
PREFIXES = ("data/", NAME, CERTIFICATE_NAME)
"""How the names of all files and folders for these clients begin."""

_HEADER = {"alg": "ES256", "typ": "JWT"}
_NOTHING = hashlib.sha256(b"").hexdigest()


def legacy_certificate(signing_certificate: x509.Certificate) -> bytes:
    """Return the bytes of certificate.pem: only the signing certificate."""
    return signing_certificate.public_bytes(Encoding.PEM)


def legacy_signing_input(certificate_pem: bytes) -> bytes:
    """Return the bytes to sign, `header.claims`, for the bytes of certificate.pem."""
    return b".".join(
        base64.urlsafe_b64encode(dump_json(part)) for part in (_HEADER, _claims(certificate_pem))
    )


def assemble_legacy(signed: bytes, signature: bytes, certificate_pem: bytes) -> bytes:
    """Return metadata.jwt of a signing input and its signature (r and s, 64 bytes), verified.

    Raises:
        TrustError: the signature was not made over these bytes with the key of that certificate.
    """
    raw = signed + b"." + base64.urlsafe_b64encode(der_signature(signature))
    verify_legacy_jwt(raw, certificate_pem)
    return raw


def verify_legacy_jwt(raw: bytes, certificate_pem: bytes) -> x509.Certificate:
    """Check metadata.jwt against certificate.pem. Only index.jwt can tell who owns the certificate.

    Returns:
        The certificate. It must be the first certificate of index.jwt.

    Raises:
        FormatError: one of them does not follow the format, or they do not belong together.
        LimitError: the token is larger than we read.
        TrustError: the signature does not verify.
    """
    limits.check_length(raw, limits.JWT, "token", NAME)
    parts = raw.split(b".")
    if len(parts) != 3:
        raise FormatError("not a token of three parts", where=NAME, observed=f"{len(parts)} parts")
    header, claims, signature = (_decode(part) for part in parts)
    if parse_json(header, f"{NAME}: header") != _HEADER:
        raise FormatError(
            "unknown header",
            where=NAME,
            observed=header[:200],
            expected=dump_json(_HEADER).decode(),
        )
    # Compare as text, because 1 equals true in Python.
    if _text(parse_json(claims, f"{NAME}: claims")) != _text(_claims(certificate_pem)):
        raise FormatError(
            "its claims are not those of a finalized image with this certificate.pem",
            where=NAME,
            observed=claims[:1000],
            expected=dump_json(_claims(certificate_pem)).decode(),
        )
    certificate = parse_pem_certificate(certificate_pem, CERTIFICATE_NAME)
    try:
        signing_key(certificate).verify(
            signature, raw.rpartition(b".")[0], ec.ECDSA(hashes.SHA256())
        )
    except InvalidSignature:
        raise TrustError(
            "the signature does not verify with the key of certificate.pem", where=NAME
        ) from None
    return certificate


def _claims(certificate_pem: bytes) -> list[dict[str, Any]]:
    return [
        {"version": 1},
        {"directory": "dirs.txt", "hash": _NOTHING},
        {"symboliclink": "symlinks.txt", "hash": _NOTHING},
        {"regular": "regulars.txt", "hash": _NOTHING},
        {"persistent": "persistents.txt", "hash": _NOTHING},
        {"certificate": CERTIFICATE_NAME, "hash": hashlib.sha256(certificate_pem).hexdigest()},
        {"rootfs_directory": "data"},
        {"total_regular_size": "0"},
        {"compressed_rootfs_directory": "data.zstd"},
    ]


def _text(claims: Any) -> str:
    return json.dumps(claims, sort_keys=True)


def _decode(part: bytes) -> bytes:
    try:
        decoded = base64.b64decode(part, altchars=b"-_", validate=True)
    except ValueError:
        decoded = b""
    if base64.urlsafe_b64encode(decoded) != part:
        raise FormatError("not canonical base64url with padding", where=NAME)
    return decoded
