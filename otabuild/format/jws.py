"""ES256 tokens in compact form, by PyJWT.

Import it where it is used: PyJWT loads an HTTP client with it.
"""

from __future__ import annotations

from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm


def is_signed_by(token: bytes, key: ec.EllipticCurvePublicKey) -> bool:
    """Whether the signature of a token was made with this P-256 key; s may be low or high."""
    try:
        jwt.PyJWS(algorithms=["ES256"]).decode_complete(token, key=key, algorithms=["ES256"])
    except jwt.PyJWTError:
        return False
    return True


def encode_unsigned(
    payload: bytes, key: ec.EllipticCurvePublicKey, headers: dict[str, Any]
) -> bytes:
    """Return what is signed, `header.payload`, for a token that a P-256 key will sign."""
    jws = jwt.PyJWS(algorithms=[])
    jws.register_algorithm("ES256", _SignedElsewhere(ECAlgorithm.SHA256, ec.SECP256R1))
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    token = jws.encode(payload, pem, algorithm="ES256", headers=headers)
    return token.encode().rpartition(b".")[0]


class _SignedElsewhere(ECAlgorithm):
    """ES256 without a private key: a Signer (file, token, key service) will make the signature."""

    def sign(self, msg: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:  # noqa: ARG002  # PyJWT's signature
        return b""
