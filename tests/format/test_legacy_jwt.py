"""metadata.jwt and certificate.pem for the previous generation of clients (section 9)."""

from __future__ import annotations

import base64
import hashlib
import json
from zipfile import ZipFile

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from otabuild.errors import FormatError, LimitError, OtabuildError, TrustError
from otabuild.format.legacy_jwt import assemble_legacy, legacy_certificate, legacy_signing_input, verify_legacy_jwt
from tests import pki
from tests.shared import REFERENCE, has_fixtures

CERTIFICATE = legacy_certificate(pki.signer().certificate)
SIGNED = legacy_signing_input(CERTIFICATE)
GOOD = assemble_legacy(SIGNED, pki.raw_signature(pki.signer().ec_key, SIGNED), CERTIFICATE)

CLAIMS = base64.urlsafe_b64decode(GOOD.split(b".")[1])


def token(header: bytes, claims: bytes) -> bytes:
    """Return a token of these parts with a valid signature."""
    signed = base64.urlsafe_b64encode(header) + b"." + base64.urlsafe_b64encode(claims)
    return signed + b"." + base64.urlsafe_b64encode(pki.signer().ec_key.sign(signed, ec.ECDSA(hashes.SHA256())))


def test_what_is_written() -> None:
    header, claims, signature = (base64.urlsafe_b64decode(part) for part in GOOD.split(b"."))
    nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert json.loads(header) == {"alg": "ES256", "typ": "JWT"}
    assert json.loads(claims) == [
        {"version": 1},
        {"directory": "dirs.txt", "hash": nothing},
        {"symboliclink": "symlinks.txt", "hash": nothing},
        {"regular": "regulars.txt", "hash": nothing},
        {"persistent": "persistents.txt", "hash": nothing},
        {"certificate": "certificate.pem", "hash": hashlib.sha256(CERTIFICATE).hexdigest()},
        {"rootfs_directory": "data"},
        {"total_regular_size": "0"},
        {"compressed_rootfs_directory": "data.zstd"},
    ]
    pki.signer().ec_key.public_key().verify(signature, SIGNED, ec.ECDSA(hashes.SHA256()))


def test_it_verifies_with_its_certificate_alone() -> None:
    assert verify_legacy_jwt(GOOD, CERTIFICATE) == pki.signer().certificate
    with pytest.raises(FormatError, match="claims are not those"):
        verify_legacy_jwt(GOOD, pki.intermediate().pem)


def test_another_key_gives_no_token() -> None:
    with pytest.raises(TrustError, match="does not verify"):
        assemble_legacy(SIGNED, pki.raw_signature(pki.key("another"), SIGNED), CERTIFICATE)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", FormatError),
        (b"..", FormatError),
        (GOOD + b"\n", FormatError),
        (GOOD.replace(b".", b"=.", 1), FormatError),
        (GOOD.rpartition(b".")[0], FormatError),
        (GOOD.rpartition(b".")[0] + b"." + base64.urlsafe_b64encode(bytes(64)), TrustError),
        (b"A" * 100_000, LimitError),
        (token(b'{"alg":"none","typ":"JWT"}', base64.urlsafe_b64decode(GOOD.split(b".")[1])), FormatError),
        (token(b'{"alg":"ES256","typ":"JWT"}', b"[]"), FormatError),
        (token(b'{"alg":"ES256","typ":"JWT"}', b"{"), FormatError),
        *(
            (token(b'{"alg":"ES256","typ":"JWT"}', CLAIMS.replace(b'"version":1', b'"version":' + number)), FormatError)
            for number in (b"true", b"1.0")
        ),
    ],
)
def test_other_tokens_are_refused(raw: bytes, error: type[OtabuildError]) -> None:
    with pytest.raises(error):
        verify_legacy_jwt(raw, CERTIFICATE)


@pytest.mark.parametrize("pem", [b"text", CERTIFICATE * 2, CERTIFICATE[:200]])
def test_another_certificate_file_is_refused(pem: bytes) -> None:
    signed = legacy_signing_input(pem)
    with pytest.raises(FormatError, match="PEM certificate"):
        assemble_legacy(signed, pki.raw_signature(pki.signer().ec_key, signed), pem)


@pytest.mark.parametrize("position", range(0, len(GOOD), 7))
def test_no_bit_may_change(position: int) -> None:
    changed = bytearray(GOOD)
    changed[position] ^= 1 << position % 8
    with pytest.raises(OtabuildError):
        verify_legacy_jwt(bytes(changed), CERTIFICATE)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_give_our_error(raw: bytes, certificate: bytes) -> None:
    with pytest.raises(OtabuildError):
        verify_legacy_jwt(raw, certificate)


@has_fixtures
def test_a_reference_image_has_the_same_structure() -> None:
    with ZipFile(REFERENCE) as image:
        theirs, certificate = image.read("metadata.jwt"), image.read("certificate.pem")
    verify_legacy_jwt(theirs, certificate)
    ours = legacy_signing_input(certificate)
    for our_part, their_part in zip(ours.split(b"."), theirs.split(b".")[:2], strict=True):
        assert json.loads(base64.urlsafe_b64decode(our_part)) == json.loads(base64.urlsafe_b64decode(their_part))
