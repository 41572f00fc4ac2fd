"""A key pair for signing images, and the request (CSR) with which a CA certifies it."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from otabuild.errors import InputError
from otabuild.signing.demo_pki import key_usage
from otabuild.storage.files import write_new_files

KEY, REQUEST = "sign.key", "sign.csr"


def write_certificate_request(directory: str, subject: str) -> list[str]:
    """Make a P-256 key and a request for a certificate as clients demand it (section 8).

    Args:
        directory: where `sign.key`, readable by its owner only, and `sign.csr` are written; made if
            missing.
        subject: the name to certify, in RFC 4514 form, such as `CN=OTA release 2027,O=Example`.

    Returns:
        The paths written.

    Raises:
        InputError: the subject is not a name, or empty.
        StateError: one of the files already exists; nothing is overwritten.
        StorageError: a file cannot be written.
    """
    name = _name(subject)
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = {
        KEY: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        REQUEST: request.public_bytes(Encoding.PEM),
    }
    return write_new_files(directory, files, secret={KEY})


def _name(subject: str) -> x509.Name:
    try:
        name = x509.Name.from_rfc4514_string(subject)
    except ValueError:
        name = x509.Name([])
    if not name.rdns:
        raise InputError(
            "not the name of a certificate",
            where="--subject",
            observed=subject,
            expected="CN=OTA release,O=Example",
        )
    return name
