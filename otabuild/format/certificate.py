"""The border to the library's certificates: any bytes end in an error of ours or a certificate.

Every certificate, of a token, a file or a request, comes through here (section 8). Lists of revoked
ones use `border`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from otabuild.errors import FormatError, OtabuildError, TrustError
from otabuild.format import limits

_PEM_BLOCK = re.compile(rb"-----BEGIN ((?:X509 )?CERTIFICATE)-----.*?-----END \1-----", re.DOTALL)


@contextmanager
def border(refusal: Callable[[Exception], OtabuildError]) -> Iterator[None]:
    """Turn whatever the library raises for odd bytes into one error of ours.

    What it thinks of bytes that clients take is not for our users: a warning of it would print
    source lines, or end the program where warnings are errors.

    Args:
        refusal: makes our error of an exception of the library.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Exception as error:  # noqa: BLE001  # for odd bytes it raises whatever its parts raise
            raise refusal(error) from None


def parse_certificate(der: bytes, where: str) -> x509.Certificate:
    """Parse a certificate and make sure that its names and dates are readable.

    Raises:
        FormatError: not a certificate.
        LimitError: larger than we read.
    """
    limits.check_length(der, limits.CERTIFICATE, "certificate", where)
    with border(lambda error: _unreadable(error, where, _advice(error))):
        certificate = x509.load_der_x509_certificate(der)
        # The library parses these only on access, and messages name them.
        for name in (certificate.subject, certificate.issuer):
            name.rfc4514_string()
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        serial = certificate.serial_number
    if serial <= 0:
        raise _unreadable(
            f"serial number {serial}, which is not positive",
            where,
            "have it issued again; old versions of `openssl req -x509` wrote 0",
        )
    return certificate


def parse_pem_certificate(pem: bytes, where: str) -> x509.Certificate:
    """Parse the only certificate of a PEM text; other blocks beside it are ignored.

    Raises:
        FormatError: no certificate, more than one, or one that cannot be read.
        LimitError: larger than we read.
    """
    if len(_PEM_BLOCK.findall(pem)) != 1:
        raise FormatError("not exactly one PEM certificate", where=where)
    with border(lambda error: _unreadable(error, where, _advice(error))):
        der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    return parse_certificate(der, where)


def signing_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """Return the P-256 public key of a signing certificate.

    Raises:
        TrustError: the key is of another kind.
    """
    key = p256_key(certificate)
    if key is None:
        raise TrustError(
            "the key of the signing certificate is not P-256",
            where=certificate.subject.rfc4514_string(),
            hint="make the signing key with `openssl ecparam -name prime256v1 -genkey -noout`",
        )
    return key


def p256_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey | None:
    """Return the public key of a certificate if it is on P-256, or None."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    return None


def is_signed(key: ec.EllipticCurvePublicKey, digest: bytes, signature: bytes) -> bool:
    """Whether a signature (r and s, 64 bytes) of a SHA-256 was made with a key."""
    try:
        key.verify(der_signature(signature), digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    except InvalidSignature:
        return False
    return True


def der_signature(signature: bytes) -> bytes:
    """Return a signature of r and s, 64 bytes, in DER form."""
    r, s = (int.from_bytes(number, "big") for number in (signature[:32], signature[32:]))
    return encode_dss_signature(r, s)


def _unreadable(observed: object, where: str, hint: str) -> FormatError:
    return FormatError(
        "not a certificate that can be read", where=where, observed=observed, hint=hint
    )


def _advice(error: Exception) -> str:
    if "signature_alg" in str(error):
        return (
            "its ECDSA signature has parameters (NULL), as Java's keytool wrote before version 12: "
            "have it issued again"
        )
    return ""
