"""Certificates and where they were read from, so that every message can name the file or the place in the token."""

from __future__ import annotations

from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from otabuild.errors import InputError, printable
from otabuild.format import limits
from otabuild.format.index_jwt import parse_certificate
from otabuild.format.times import utc
from otabuild.storage.files import read_file

FILE_LIMIT = 16 * limits.MIB
"""Bytes of a file of certificates, keys or revocation lists that we are willing to read."""


class Certificate(NamedTuple):
    """A certificate and where it came from: a file, or a place in index.jwt."""

    x509: x509.Certificate
    where: str

    @property
    def subject(self) -> str:
        """The subject as RFC 4514 writes it, safe to print; a word for an empty one."""
        return printable(self.x509.subject.rfc4514_string()) or "(empty name)"

    @property
    def issuer(self) -> str:
        """The issuer as RFC 4514 writes it, safe to print; a word for an empty one."""
        return printable(self.x509.issuer.rfc4514_string()) or "(empty name)"

    @property
    def common_name(self) -> str | None:
        """The common name of the subject, if it has one."""
        names = self.x509.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if names else None

    @property
    def not_before(self) -> int:
        """First second of its validity, Unix time."""
        return int(self.x509.not_valid_before_utc.timestamp())

    @property
    def not_after(self) -> int:
        """Last second of its validity, Unix time."""
        return int(self.x509.not_valid_after_utc.timestamp())

    @property
    def facts(self) -> str:
        """Subject, issuer and validity in one phrase, for messages."""
        return f"subject {self.subject}, issuer {self.issuer}, valid {utc(self.not_before)} to {utc(self.not_after)}"

    @property
    def p256_key(self) -> ec.EllipticCurvePublicKey | None:
        """Its public key where that is on P-256."""
        try:
            key = self.x509.public_key()
        except (ValueError, UnsupportedAlgorithm):
            return None
        return key if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1) else None

    @property
    def is_self_signed(self) -> bool:
        """Whether it is its own issuer, by name and by signature."""
        return self.is_issued_by(self)

    def is_issued_by(self, issuer: Certificate) -> bool:
        """Whether the issuer's name and key made this certificate; says nothing of the issuer's right to do so."""
        try:
            self.x509.verify_directly_issued_by(issuer.x509)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return False
        return True


def read_certificates(path: str) -> tuple[Certificate, ...]:
    """Every certificate of a PEM file, in the order of the file.

    Raises:
        InputError: the file does not hold PEM certificates.
        FormatError: one of them cannot be read.
        StorageError: it cannot be read.
    """
    raw = read_file(path, FILE_LIMIT)
    try:
        found = x509.load_pem_x509_certificates(raw)
    except (ValueError, x509.InvalidVersion):
        raise InputError(
            "not a file of PEM certificates",
            where=path,
            hint=f"a DER certificate becomes PEM with `openssl x509 -inform DER -in {path} -out NEW.pem`",
        ) from None
    return tuple(Certificate(parse_certificate(one.public_bytes(Encoding.DER), path), path) for one in found)
