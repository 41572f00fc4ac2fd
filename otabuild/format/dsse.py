"""DSSE envelopes: signed in-toto statements about an image, with the certificates of the signer.

The envelope is that of https://github.com/secure-systems-lab/dsse, version 1; the signature is
ECDSA with SHA-256 in DER, and `x5c` has the certificates as index.jwt does. Only the exact bytes
that `to_json` writes are read, so that no byte of an envelope can change unnoticed.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otabuild.errors import FormatError, TrustError
from otabuild.format import limits
from otabuild.format.certificate import der_signature, is_signed, parse_certificate, signing_key
from otabuild.format.document import dump_json, parse_json

PAYLOAD_TYPE = "application/vnd.in-toto+json"
LIMIT = 64 * limits.MIB
"""The largest envelope, in bytes; a bill of materials in one is a few MiB."""


def pre_authentication(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Return the bytes that are signed: type of the payload and payload, each with its length."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class Envelope:
    """An envelope. Nothing is verified yet.

    Attributes:
        payload: the statement, as JSON.
        chain: the signing certificate first.
        signature: r and s, 64 bytes.
    """

    payload: bytes
    chain: tuple[x509.Certificate, ...]
    signature: bytes

    def to_json(self) -> bytes:
        """Return the bytes of the envelope.

        Raises:
            TrustError: the key of the signing certificate is not P-256.
        """
        key = signing_key(self.chain[0]).public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        signature = {
            "keyid": hashlib.sha256(key).hexdigest(),
            "sig": _base64(der_signature(self.signature)),
            "x5c": [_base64(certificate.public_bytes(Encoding.DER)) for certificate in self.chain],
        }
        value = {
            "payloadType": PAYLOAD_TYPE,
            "payload": _base64(self.payload),
            "signatures": [signature],
        }
        return dump_json(value) + b"\n"

    @classmethod
    def from_json(cls, raw: bytes, where: str) -> Self:
        """Read an envelope.

        Raises:
            FormatError: not an envelope that `to_json` writes.
            LimitError: larger than any envelope.
            TrustError: the key of the signing certificate is not P-256.
        """
        value = parse_json(raw, where, LIMIT)
        try:
            envelope = cls._of_value(value, where)
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
            envelope = None
        if envelope is None or envelope.to_json() != raw:
            raise FormatError(
                "not an attestation that otabuild wrote, or one that was changed",
                where=where,
                hint=(
                    "get it again from whoever made the image; every byte of it counts, also spaces"
                ),
            )
        return envelope

    @classmethod
    def _of_value(cls, value: Any, where: str) -> Self:
        (signature,) = value["signatures"]
        r, s = decode_dss_signature(base64.b64decode(signature["sig"]))
        certificates = signature["x5c"][: limits.CERTIFICATES]
        chain = tuple(parse_certificate(base64.b64decode(text), where) for text in certificates)
        payload = base64.b64decode(value["payload"])
        envelope = cls(payload, chain, r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        signing_key(chain[0])
        return envelope

    def verify_signature(self, where: str) -> None:
        """Check the signature against the key of the first certificate.

        Raises:
            TrustError: that key did not sign this statement.
        """
        digest = hashlib.sha256(pre_authentication(self.payload)).digest()
        if not is_signed(signing_key(self.chain[0]), digest, self.signature):
            raise TrustError(
                "the signature does not verify with the key of the first certificate", where=where
            )


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
