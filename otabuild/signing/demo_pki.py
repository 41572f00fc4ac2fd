"""A root, an intermediate and a signing certificate for experiments, never for real images."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from otabuild.storage.files import write_new_files

_YEARS = timedelta(days=3652)
_README = """\
Demo certificates, made by `otabuild pki demo`. NOT FOR REAL IMAGES: anybody who can read this folder can sign.

root-ca.pem        the trust anchor: give it to `otabuild verify --ca`
intermediate.pem   issued by the root: `sign.chain` of a recipe
sign.pem           issued by the intermediate: `sign.certificate`
sign.key           the key of sign.pem: `sign.key: {file: …}`
root-ca.key, intermediate.key   to issue more certificates with
"""  # noqa: E501


def write_demo_pki(directory: str, now: int) -> list[str]:
    """Make three certificates with keys, valid ten years before and after `now` (Unix seconds).

    Returns:
        The paths written.

    Raises:
        StateError: one of the files already exists; nothing is overwritten.
        StorageError: a file cannot be written.
    """
    root, intermediate, sign = (_Party(name) for name in ("root-ca", "intermediate", "sign"))
    files = {"README.txt": _README.encode()}
    for subject, issuer, path_length in (
        (root, root, 1),
        (intermediate, root, 0),
        (sign, intermediate, None),
    ):
        certificate = _issue(subject, issuer, path_length, now)
        files[f"{subject.role}.pem"] = certificate.public_bytes(Encoding.PEM)
        files[f"{subject.role}.key"] = subject.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    return write_new_files(
        directory, files, secret={name for name in files if name.endswith(".key")}
    )


class _Party:
    """A name with its own key."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.key = ec.generate_private_key(ec.SECP256R1())
        organization = x509.NameAttribute(
            NameOID.ORGANIZATION_NAME, "otabuild DEMO - not for real images"
        )
        self.name = x509.Name(
            [organization, x509.NameAttribute(NameOID.COMMON_NAME, f"DEMO {role}")]
        )


def _issue(subject: _Party, issuer: _Party, path_length: int | None, now: int) -> x509.Certificate:
    """Issue a certificate; with a path length it is a CA."""
    is_ca = path_length is not None
    middle = datetime.fromtimestamp(now, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject.name)
        .issuer_name(issuer.name)
        .public_key(subject.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(middle - _YEARS)
        .not_valid_after(middle + _YEARS)
        .add_extension(x509.BasicConstraints(is_ca, path_length), critical=True)
        .add_extension(key_usage(is_ca=is_ca), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(subject.key.public_key()), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()),
            critical=False,
        )
    )
    if not is_ca:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False
        )
    return builder.sign(issuer.key, hashes.SHA256())


def key_usage(*, is_ca: bool) -> x509.KeyUsage:
    """Return what the key of a CA, or of a signing certificate, is for."""
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
