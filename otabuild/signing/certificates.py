"""Certificates with their origin, so that messages can name a file or a place in the token."""

from __future__ import annotations

from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from otabuild.errors import FormatError, InputError, printable
from otabuild.format import limits
from otabuild.format.certificate import p256_key, parse_certificate
from otabuild.format.index_jwt import NAME, IndexToken
from otabuild.format.times import DAY, utc
from otabuild.signing.pem import certificates_in
from otabuild.storage.files import read_file

FILE_LIMIT = 16 * limits.MIB
"""Maximum number of bytes read from a file of certificates, keys or revocation lists."""
_SOON = 30 * DAY


class Certificate(NamedTuple):
    """A certificate and its origin: a file, or a place in index.jwt."""

    x509: x509.Certificate
    where: str

    @property
    def subject(self) -> str:
        """The subject in RFC 4514 form, safe to print; a placeholder if it is empty."""
        return printable(self.x509.subject.rfc4514_string()) or "(empty name)"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate in lowercase hex, as of `openssl x509 -fingerprint`."""
        return self.x509.fingerprint(hashes.SHA256()).hex()

    @property
    def issuer(self) -> str:
        """The issuer in RFC 4514 form, safe to print; a placeholder if it is empty."""
        return printable(self.x509.issuer.rfc4514_string()) or "(empty name)"

    @property
    def common_name(self) -> str | None:
        """The common name of the subject, or None."""
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

    def expires_soon(self, now: int) -> bool:
        """Whether it expires within 30 days of `now` (Unix seconds), or has expired."""
        return self.not_after - now < _SOON

    @property
    def facts(self) -> str:
        """Subject, issuer and validity in one phrase, for messages."""
        return (
            f"subject {self.subject}, issuer {self.issuer}, valid {utc(self.not_before)} to "
            f"{utc(self.not_after)}"
        )

    @property
    def p256_key(self) -> ec.EllipticCurvePublicKey | None:
        """Its public key if that is on P-256, or None."""
        return p256_key(self.x509)

    @property
    def is_self_signed(self) -> bool:
        """Whether it is its own issuer, by name and signature.

        Clients do not mind a weak hash of a root.
        """
        same_name = self.x509.subject == self.x509.issuer
        return self.is_issued_by(self) or (same_name and self.is_signed_with_key_of(self))

    def is_issued_by(self, issuer: Certificate) -> bool:
        """Whether the issuer's name and key made this certificate, whether it may or not."""
        try:
            self.x509.verify_directly_issued_by(issuer.x509)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return False
        return True

    def is_vouched_for_by(self, other: Certificate) -> bool:
        """Whether the other certificate, of the same name and key, is issued by somebody else.

        Such a root is cross-signed.
        """
        key = self.p256_key
        same = self.x509.subject == other.x509.subject and key is not None and key == other.p256_key
        return same and other.x509.subject != other.x509.issuer

    def is_signed_with_key_of(self, issuer: Certificate) -> bool:
        """Whether the issuer's P-256 key made the signature, whatever the names and the hash."""
        key, certificate = issuer.p256_key, self.x509
        try:
            digest = certificate.signature_hash_algorithm
            if key is None or digest is None:
                return False
            key.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(digest))
        except (ValueError, InvalidSignature, UnsupportedAlgorithm):
            return False
        return True


def read_certificates(path: str) -> tuple[Certificate, ...]:
    """Return every certificate of a PEM file, in file order.

    Raises:
        InputError: the file has no PEM certificates, or one that cannot be parsed; the hint depends
            on what it has.
        LimitError: a certificate is larger than we read.
        StorageError: the file cannot be read.
    """
    found = certificates_in(read_file(path, FILE_LIMIT), path)
    return tuple(Certificate(_parse(der, path), path) for der in found)


def _parse(der: bytes, path: str) -> x509.Certificate:
    try:
        return parse_certificate(der, path)
    except FormatError as error:
        raise InputError(
            error.what,
            where=path,
            observed=error.observed,
            expected=error.expected,
            hint=error.hint,
        ) from None


def token_certificates(token: IndexToken) -> tuple[Certificate, ...]:
    """Return the certificates of x5c, the signing one first, with places in index.jwt."""
    return tuple(Certificate(found, f"{NAME}: x5c[{i}]") for i, found in enumerate(token.chain))
