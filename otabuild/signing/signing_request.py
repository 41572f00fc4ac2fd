"""Signing in two steps, for keys that no build machine sees: a request, then an answer."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from otabuild.errors import FormatError
from otabuild.format.certificate import parse_pem_certificate
from otabuild.format.document import dump_json, parse_json

_KIND = "otabuild.signing-request.v1"


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """What the owner of the key has to sign.

    Attributes:
        name: the file that the signature is for, such as `index.jwt`.
        signing_input: the exact bytes to sign.
        chain: the certificates, the signing certificate first.
    """

    name: str
    signing_input: bytes
    chain: tuple[x509.Certificate, ...]

    @property
    def digest(self) -> bytes:
        """The SHA-256 to sign, 32 bytes."""
        return hashlib.sha256(self.signing_input).digest()

    def to_json(self) -> bytes:
        """Return the request as a file: for people, scripts, and with AWS KMS `Sign` parameters."""
        return dump_json(self._to_value()) + b"\n"

    def _to_value(self) -> dict[str, Any]:
        return {
            "kind": _KIND,
            "name": self.name,
            "signing-input": base64.b64encode(self.signing_input).decode(),
            "sha256": self.digest.hex(),
            "subject": self.chain[0].subject.rfc4514_string(),
            "chain": [
                certificate.public_bytes(Encoding.PEM).decode() for certificate in self.chain
            ],
            "aws-kms-sign": {
                "Message": base64.b64encode(self.digest).decode(),
                "MessageType": "DIGEST",
                "SigningAlgorithm": "ECDSA_SHA_256",
            },
        }

    @classmethod
    def from_json(cls, raw: bytes, where: str) -> SigningRequest:
        """Read a request; every field must be exactly what `to_json` would write.

        Raises:
            FormatError: not a request, or a modified one.
            LimitError: larger than any request.
        """
        value = parse_json(raw, where)
        cause, hint = None, "write it again with `otabuild sign-prepare`"
        try:
            chain = tuple(parse_pem_certificate(pem.encode(), where) for pem in value["chain"])
            request = cls(value["name"], base64.b64decode(value["signing-input"]), chain)
            if isinstance(value["name"], str) and request._to_value() == value:
                return request
        except FormatError as error:
            cause = f"{error.what}: {error.observed}" if error.observed else error.what
            hint = error.hint or hint
        except (AttributeError, LookupError, TypeError, ValueError):
            pass
        raise FormatError(
            "not a signing request, or one that was changed",
            where=where,
            observed=cause,
            hint=hint,
        )
