"""Attestations: signed by a trusted signer, and no byte of them can change."""

from __future__ import annotations

import dataclasses

import pytest

from otabuild.errors import FormatError, OtabuildError, TrustError
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
