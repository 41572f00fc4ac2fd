"""Attestations: signed by a trusted signer, and no byte of them can change."""

from __future__ import annotations

import base64
import dataclasses
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from otabuild.errors import FormatError, OtabuildError, TrustError
from otabuild.format.certificate import is_signed
from otabuild.format.dsse import Envelope, pre_authentication
from otabuild.format.statement import PROVENANCE, SBOM, Digests, Statement, Subject
from otabuild.signing.attestation import sign_statement, verify_attestation
from otabuild.signing.signer import PemSigner
from otabuild.signing.trust import TrustPolicy
from tests import pki

STATEMENT = Statement(
    subject=(Subject(name="index.json", digest=Digests(sha256="0" * 64)),),
    predicate_type=PROVENANCE,
    predicate={"buildDefinition": {"buildType": "x"}},
)


def policy() -> TrustPolicy:
    return TrustPolicy(anchors=pki.anchors(pki.root()))


def signed() -> bytes:
    return sign_statement(STATEMENT, pki.chain(pki.signer(), pki.intermediate()), PemSigner(pki.signer().ec_key))


def test_a_signed_statement_is_verified() -> None:
    found = verify_attestation(signed(), "file", PROVENANCE, policy(), pki.NOW)
    assert found.statement == STATEMENT
    assert found.signature.anchor == pki.anchors(pki.root())[0]


def test_the_same_statement_gives_the_same_bytes() -> None:
    assert signed() == signed()


def test_a_change_of_any_byte_is_refused() -> None:
    raw = signed()
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 1
        with pytest.raises(OtabuildError):
            verify_attestation(bytes(changed), "file", PROVENANCE, policy(), pki.NOW)


def test_a_change_of_any_byte_of_the_statement_is_refused() -> None:
    """In an envelope that is otherwise well-formed; the subjects are in the statement."""
    whole = Envelope.from_json(signed(), "file")
    for at, byte in enumerate(whole.payload):
        payload = whole.payload[:at] + bytes([byte ^ 1]) + whole.payload[at + 1 :]
        raw = dataclasses.replace(whole, payload=payload).to_json()
        with pytest.raises(TrustError, match="does not verify"):
            verify_attestation(raw, "file", PROVENANCE, policy(), pki.NOW)


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_a_part_of_it_is_refused(size: int) -> None:
    with pytest.raises(OtabuildError):
        verify_attestation(signed()[:size], "file", PROVENANCE, policy(), pki.NOW)


def test_another_predicate_is_refused() -> None:
    with pytest.raises(FormatError, match="says something else"):
        verify_attestation(signed(), "file", SBOM, policy(), pki.NOW)


def test_a_signer_whom_the_policy_does_not_allow_is_refused() -> None:
    other = dataclasses.replace(policy(), allowed_signers=frozenset({"somebody else"}))
    with pytest.raises(TrustError, match="allowed signer"):
        verify_attestation(signed(), "file", PROVENANCE, other, pki.NOW)
    stranger = TrustPolicy(anchors=pki.anchors(pki.issue("stranger")))
    with pytest.raises(TrustError, match="trusted root"):
        verify_attestation(signed(), "file", PROVENANCE, stranger, pki.NOW)


def test_another_key_than_that_of_the_certificate_is_not_signed_with() -> None:
    with pytest.raises(TrustError, match="another key"):
        sign_statement(STATEMENT, pki.chain(pki.signer(), pki.intermediate()), PemSigner(pki.key("other")))


def test_the_signature_is_that_of_the_published_example() -> None:
    """The example of the protocol of DSSE: P-256, SHA-256 and the nonce of RFC 6979; r and s as raw bytes."""
    d = 97358161215184420915383655311931858321456579547487070936769975997791359926199
    key = ec.derive_private_key(d, ec.SECP256R1())
    digest = hashlib.sha256(pre_authentication(b"hello world", "http://example.com/HelloWorld")).digest()
    published = "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="
    assert PemSigner(key).sign(digest) == base64.b64decode(published)
    assert is_signed(key.public_key(), digest, base64.b64decode(published))


def test_an_authority_that_is_not_for_signing_code_is_noted() -> None:
    root = pki.issue("narrow root", eku=[pki.SERVER_AUTH])
    ca = pki.issue("narrow ca", root, ca=True, eku=[pki.SERVER_AUTH])
    party = pki.issue("signs", ca)
    raw = sign_statement(STATEMENT, pki.chain(party, ca), PemSigner(party.ec_key))
    found = verify_attestation(raw, "file", PROVENANCE, TrustPolicy(anchors=pki.anchors(root)), pki.NOW)
    assert [note.where for note in found.signature.notes] == ["file: x5c[1]", "root.pem"]
    assert found.signature.issued_at is None
