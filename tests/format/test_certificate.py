"""Certificates of any origin: what is read, and what is refused with a word of ours (section 8)."""

from __future__ import annotations

import hashlib
import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from otabuild.errors import FormatError, LimitError, OtabuildError, TrustError
from otabuild.format import limits
from otabuild.format.certificate import (
    border,
    is_signed,
    p256_key,
    parse_certificate,
    parse_pem_certificate,
    signing_key,
)
from tests import pki
from tests.signing import der

SIGNER = pki.signer()


def as_large_as(size: int) -> bytes:
    """Return a certificate of so many bytes."""
    extension = x509.ObjectIdentifier("1.2.3.4")
    padding = size
    while True:
        unknown = x509.UnrecognizedExtension(extension, b"\x04" * padding)
        raw = pki.issue("large", pki.intermediate(), extensions=[(unknown, False)]).der
        if len(raw) == size:
            return raw
        padding -= len(raw) - size


def test_a_certificate_is_as_large_as_we_read_and_no_larger() -> None:
    parse_certificate(as_large_as(limits.CERTIFICATE), "here")
    with pytest.raises(LimitError, match="certificate too large"):
        parse_certificate(as_large_as(limits.CERTIFICATE + 1), "here")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"text",
        SIGNER.der[:-1],
        SIGNER.der + b"\0",
        der.certificate(der.name(b"A"), der.name(b"B"), SIGNER.ec_key, SIGNER.ec_key, parameters=der.tlv(5)),
        der.certificate(der.name(b"A", der.BIT_STRING), der.name(b"B"), SIGNER.ec_key, SIGNER.ec_key),
        der.certificate(der.name(b"A"), der.name(b"B", der.BIT_STRING), SIGNER.ec_key, SIGNER.ec_key),
        der.certificate(der.name(b"A"), der.name(b"B"), SIGNER.ec_key, SIGNER.ec_key, serial=0),
    ],
)
def test_what_cannot_be_read(raw: bytes) -> None:
    with pytest.raises(FormatError, match="not a certificate that can be read"):
        parse_certificate(raw, "here")


def test_only_parameters_of_a_signature_are_put_down_to_keytool() -> None:
    null = der.certificate(der.name(b"A"), der.name(b"B"), SIGNER.ec_key, SIGNER.ec_key, parameters=der.tlv(5))
    for raw, advised in ((null, True), (SIGNER.der[:-1], False)):
        with pytest.raises(FormatError) as caught:
            parse_certificate(raw, "here")
        assert ("keytool" in caught.value.hint) is advised
        assert bool(caught.value.hint) is advised


def test_the_least_serial_number() -> None:
    raw = der.certificate(der.name(b"A"), der.name(b"B"), SIGNER.ec_key, SIGNER.ec_key, serial=1)
    assert parse_certificate(raw, "here").serial_number == 1


@pytest.mark.parametrize("label", ["CERTIFICATE", "X509 CERTIFICATE"])
def test_the_only_certificate_of_a_text(label: str) -> None:
    other = b"-----BEGIN OTHER-----\nAAAA\n-----END OTHER-----\n"
    assert parse_pem_certificate(b"text\n" + other + der.pem(label, SIGNER.der), "here") == SIGNER.certificate


@pytest.mark.parametrize("pem", [b"", SIGNER.pem * 2, SIGNER.pem[:-20], b"\n".join(SIGNER.pem.split(b"\n")[1:])])
def test_none_or_several_certificates(pem: bytes) -> None:
    with pytest.raises(FormatError, match="here: not exactly one PEM certificate"):
        parse_pem_certificate(pem, "here")


def test_a_text_whose_certificate_cannot_be_read() -> None:
    for body in (b"AAAA", b"***", b""):
        with pytest.raises(FormatError, match="not a certificate that can be read"):
            parse_pem_certificate(b"-----BEGIN CERTIFICATE-----\n" + body + b"\n-----END CERTIFICATE-----\n", "here")
    with pytest.raises(LimitError, match="certificate too large"):
        parse_pem_certificate(der.pem("CERTIFICATE", as_large_as(limits.CERTIFICATE + 1)), "here")


@pytest.mark.parametrize(
    "key",
    [pki.key("x", ec.SECP384R1), pki.key("x", ec.SECP256K1), ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))],
)
def test_keys_of_other_kinds(key: pki.Key) -> None:
    other = pki.issue("other", pki.intermediate(), own_key=key).certificate
    assert p256_key(other) is None
    with pytest.raises(TrustError, match="the key of the signing certificate is not P-256"):
        signing_key(other)
    assert signing_key(SIGNER.certificate) == p256_key(SIGNER.certificate) == SIGNER.ec_key.public_key()


def test_a_signature_is_of_one_key_and_one_digest() -> None:
    signature, digest = pki.raw_signature(SIGNER.ec_key, b"text"), hashlib.sha256(b"text").digest()
    key = SIGNER.ec_key.public_key()
    assert is_signed(key, digest, signature)
    assert not is_signed(pki.key("other").public_key(), digest, signature)
    assert not is_signed(key, hashlib.sha256(b"other").digest(), signature)
    assert not is_signed(key, digest, signature[32:] + signature[:32])


def test_what_the_library_thinks_is_not_heard() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with border(lambda error: FormatError(str(error))):
            warnings.warn("of the library", stacklevel=1)
        with pytest.raises(UserWarning):
            warnings.warn("of somebody else", stacklevel=1)
    with pytest.raises(OtabuildError, match="what it raised") as caught, border(lambda error: FormatError(str(error))):
        raise KeyError("what it raised")
    assert caught.value.__suppress_context__
