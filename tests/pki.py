"""Certificate chains of any shape, valid or not, with fixed keys and dates: the same bytes in every run.

`issue(name, issuer, …)` makes a party. Every option defaults to that of a valid certificate, so a test only names what
is wrong.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from otabuild.signing.certificates import Certificate

NOW = 1_767_225_600
"""2026-01-01 00:00:00 UTC, the time in all these tests."""
DAY = 86_400
YEAR = 365 * DAY
CODE_SIGNING = ExtendedKeyUsageOID.CODE_SIGNING
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@cache
def key(name: str, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    """Return the key of a name."""
    return ec.derive_private_key(int.from_bytes(hashlib.sha256(name.encode()).digest()[:23], "big"), curve())


@dataclass(frozen=True)
class Party:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def ec_key(self) -> ec.EllipticCurvePrivateKey:
        assert isinstance(self.key, ec.EllipticCurvePrivateKey)
        return self.key

    def key_pem(self, passphrase: bytes | None = None) -> bytes:
        encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def name(text: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "otabuild tests")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, text)])


def issue(
    subject: str,
    issuer: Party | None = None,
    *,
    ca: bool | None = None,
    path_length: int | None = None,
    critical: bool = True,
    basic: bool = True,
    usage: Sequence[str] | None = ("default",),
    eku: Sequence[ObjectIdentifier] = (),
    not_before: int = NOW - YEAR,
    not_after: int = NOW + 9 * YEAR,
    own_key: Key | None = None,
    signed_with: Key | None = None,
    digest: hashes.SHA224 | hashes.SHA256 | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Party:
    """Make a certificate; without an issuer it is self-signed and, unless told otherwise, a CA.

    Args:
        critical: whether basicConstraints is critical.
        basic: whether it has basicConstraints.
        usage: names of key usages; None to leave out the extension.
        own_key: the key of the subject; default: that of its name.
        signed_with: a key that replaces the issuer's.
        digest: the hash of the signature; default: SHA-256.
        extensions: further extensions, each with whether it is critical.
    """
    is_ca = issuer is None if ca is None else ca
    subject_key = own_key or key(subject)
    signing_key = signed_with or (issuer.key if issuer else subject_key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(issuer.certificate.subject if issuer else name(subject))
        .public_key(subject_key.public_key())
        .serial_number(int.from_bytes(hashlib.sha256(f"{subject} {not_after}".encode()).digest()[:8], "big") + 1)
        .not_valid_before(datetime.fromtimestamp(not_before, UTC))
        .not_valid_after(datetime.fromtimestamp(not_after, UTC))
    )
    if basic:
        builder = builder.add_extension(x509.BasicConstraints(is_ca, path_length if is_ca else None), critical)
    if usage is not None:
        default = ("key_cert_sign", "crl_sign") if is_ca else ("digital_signature",)
        builder = builder.add_extension(key_usage(default if tuple(usage) == ("default",) else usage), critical=True)
    if eku:
        builder = builder.add_extension(x509.ExtendedKeyUsage(eku), critical=False)
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, is_critical)
    if isinstance(signing_key, ec.EllipticCurvePrivateKey):
        certificate = builder.sign(signing_key, digest or hashes.SHA256(), ecdsa_deterministic=True)
    elif isinstance(signing_key, rsa.RSAPrivateKey):
        certificate = builder.sign(signing_key, digest or hashes.SHA256())
    else:
        certificate = builder.sign(signing_key, None)
    return Party(certificate, subject_key)


def key_usage(names: Sequence[str]) -> x509.KeyUsage:
    known = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{known_name: known_name in names for known_name in known})


@cache
def root() -> Party:
    return issue("root")


@cache
def intermediate() -> Party:
    return issue("intermediate", root(), ca=True, path_length=0)


@cache
def signer() -> Party:
    return issue("signer", intermediate(), eku=[CODE_SIGNING])


def chain(*parties: Party) -> tuple[Certificate, ...]:
    """Return a chain as if read from files named `0.pem`, `1.pem`, …; default: the valid chain."""
    found = parties or (signer(), intermediate())
    return tuple(Certificate(party.certificate, f"{i}.pem") for i, party in enumerate(found))


def anchors(*parties: Party) -> tuple[Certificate, ...]:
    return tuple(Certificate(party.certificate, "root.pem") for party in parties or (root(),))


def save(path: Path, *parties: Party) -> str:
    """Write certificates to one PEM file; return its path."""
    path.write_bytes(b"".join(party.pem for party in parties))
    return str(path)


def crl(
    issuer: Party,
    revoked: Sequence[Party] = (),
    *,
    this: int = NOW - DAY,
    until: int = NOW + DAY,
    signed_with: ec.EllipticCurvePrivateKey | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> x509.CertificateRevocationList:
    """A revocation list."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(datetime.fromtimestamp(this, UTC))
        .next_update(datetime.fromtimestamp(until, UTC))
    )
    for party in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(party.certificate.serial_number)
            .revocation_date(datetime.fromtimestamp(NOW - DAY, UTC))
            .build()
        )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, is_critical)
    return builder.sign(signed_with or issuer.ec_key, hashes.SHA256())


def raw_signature(signing_key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """Return r and s, each as long as the curve needs."""
    r, s = decode_dss_signature(signing_key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
    size = (signing_key.curve.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def token(header: object, claims: object, signing_key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    """Return a hand-made token of values or JSON bytes with a valid signature, whatever it says."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    signed = b".".join(base64url(part) for part in parts)
    return signed + b"." + base64url(raw_signature(signing_key or signer().ec_key, signed))


def header(*parties: Party, **changes: object) -> dict[str, object]:
    """Return the header of a valid token; a change to None removes a parameter."""
    x5c = [base64.b64encode(party.der).decode() for party in parties or (signer(), intermediate())]
    merged = {"alg": "ES256", "typ": "JWT", "x5c": x5c} | changes
    return {parameter: value for parameter, value in merged.items() if value is not None}


INDEX = b'{"schemaVersion":2}'
"""Bytes used as an index.json; nothing here parses them."""


def claims(**changes: object) -> dict[str, object]:
    """Return the claims of a valid token about INDEX."""
    image_index = {
        "size": len(INDEX),
        "digest": f"sha256:{hashlib.sha256(INDEX).hexdigest()}",
        "mediaType": "application/vnd.oci.image.index.v1+json",
    }
    merged = {"iat": NOW, "image_index": image_index} | changes
    return {claim: value for claim, value in merged.items() if value is not None}


def secrets(secret_key: ec.EllipticCurvePrivateKey) -> list[bytes]:
    """Return the forms in which a key may leak: its number as bytes, hex, decimal, base64, and its PEM lines."""
    number = secret_key.private_numbers().private_value
    scalar = number.to_bytes(32, "big")
    pem = Party(signer().certificate, secret_key).key_pem()
    significant = scalar.lstrip(b"\0")
    return [
        significant,
        significant.hex().encode(),
        significant.hex().upper().encode(),
        str(number).encode(),
        base64.b64encode(scalar)[16:40],
        base64.urlsafe_b64encode(scalar)[16:40],
        *pem.splitlines()[1:-1],
    ]
