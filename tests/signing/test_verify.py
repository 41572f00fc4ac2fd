"""The result for a signature: chain, signature, index and policy are all required (threats S1, S2, S16)."""

from __future__ import annotations

import base64
from contextlib import nullcontext
from dataclasses import replace
from zipfile import ZipFile

import pytest

from otabuild.errors import FormatError, IntegrityError, OtabuildError, TrustError
from otabuild.signing import authenticity as verify_module
from otabuild.signing.authenticity import SignatureReport, check_index_jwt, verify_index_jwt
from otabuild.signing.trust import TrustPolicy, check_signer, load_anchors
from tests import pki
from tests.pki import DAY, INDEX, NOW, YEAR, Party, intermediate, issue, root, signer
from tests.refusals import Pin
from tests.shared import REFERENCE, REFERENCE_ROOT, has_fixtures

POLICY = TrustPolicy(anchors=pki.anchors())
GOOD = pki.token(pki.header(), pki.claims())


def verify(
    token: bytes = GOOD, index: bytes = INDEX, policy: TrustPolicy | None = POLICY, now: int = NOW
) -> SignatureReport:
    return verify_index_jwt(token, index, policy, now)


def signed_by(*parties: Party) -> bytes:
    return pki.token(pki.header(*parties), pki.claims(), parties[0].ec_key)


def test_a_good_image_names_its_signer_and_root() -> None:
    report = verify()
    assert [c.subject for c in report.chain] == ["CN=signer,O=otabuild tests", "CN=intermediate,O=otabuild tests"]
    assert report.anchor == pki.anchors()[0]
    value = report.to_value()
    assert value["trusted"] is True
    assert value["signed-at"] == "2026-01-01T00:00:00Z"
    assert value["chain"] == [
        {"subject": f"CN={name},O=otabuild tests", "issuer": f"CN={issuer},O=otabuild tests", **dates}
        for name, issuer in (("signer", "intermediate"), ("intermediate", "root"), ("root", "root"))
        for dates in [{"not-before": "2025-01-01T00:00:00Z", "not-after": "2034-12-30T00:00:00Z"}]
    ]


def test_without_a_policy_everything_but_the_anchor_is_checked() -> None:
    report = verify(policy=None)
    assert report.anchor is None
    assert report.to_value()["trusted"] is False
    for token, index, now in (
        (GOOD, INDEX + b"\n", NOW),
        (GOOD, INDEX, NOW - 1),
        (GOOD, INDEX, NOW + 10 * YEAR),
        (GOOD[:-1] + (b"A" if GOOD[-1:] != b"A" else b"Q"), INDEX, NOW),
        (signed_by(signer(), issue("other", root(), ca=True)), INDEX, NOW),
    ):
        with pytest.raises(OtabuildError):
            verify(token, index, None, now)


def test_all_that_is_wrong_is_collected(pin: Pin) -> None:
    token = pki.token(pki.header(), pki.claims(iat=NOW + 20 * YEAR), pki.key("another"))
    policy = TrustPolicy(anchors=pki.anchors(issue("root 2")), allowed_signers=frozenset({"somebody else"}))
    report, problems = check_index_jwt(token, b"another", policy, NOW)
    assert report is None
    texts = [
        "trusted root",
        "does not verify",
        "does not match its digest",
        "in the future",
        "not signed by an allowed",
    ]
    assert len(problems) == len(texts)
    assert all(text in problem.what for text, problem in zip(texts, problems, strict=True))
    for problem in problems:
        pin(problem)


@pytest.mark.parametrize("bit", range(0, len(INDEX) * 8, 5))
def test_no_bit_of_the_index_may_change(bit: int) -> None:
    """S1."""
    changed = bytearray(INDEX)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError):
        verify(index=bytes(changed))


@pytest.mark.parametrize("index", [INDEX + b"\n", INDEX.replace(b"{", b"{\r\n"), INDEX[:-1], b""])
def test_the_index_is_compared_byte_for_byte(index: bytes) -> None:
    """S1."""
    with pytest.raises(IntegrityError):
        verify(index=index)


@pytest.mark.parametrize("token", [b"", b"garbage", b"\0" * 100])
def test_no_token_is_no_signature(token: bytes) -> None:
    """S2."""
    with pytest.raises(FormatError):
        verify(token)


def test_a_signature_from_the_future_is_refused() -> None:
    verify(now=NOW)
    with pytest.raises(TrustError, match="in the future"):
        verify(now=NOW - 1)
    with pytest.raises(TrustError, match="in the future"):
        verify(policy=POLICY, now=NOW - 1)


def test_replay_of_an_old_image() -> None:
    """S16."""
    verify(policy=replace(POLICY, not_before=NOW, max_age=DAY), now=NOW + DAY)
    with pytest.raises(TrustError, match="too old"):
        verify(policy=replace(POLICY, not_before=NOW + 1), now=NOW + DAY)
    with pytest.raises(TrustError, match="too old"):
        verify(policy=replace(POLICY, max_age=DAY - 1), now=NOW + DAY)
    timeless = pki.token(pki.header(), pki.claims(iat=None))
    assert verify(timeless).to_value()["signed-at"] is None
    with pytest.raises(TrustError, match="too old"):
        verify(timeless, policy=replace(POLICY, max_age=10 * YEAR))


def test_allowed_signers() -> None:
    for name in ("signer", "CN=signer,O=otabuild tests"):
        verify(policy=replace(POLICY, allowed_signers=frozenset({"another", name})))
    for name in ("Signer", "sign", "intermediate", "CN=signer"):
        with pytest.raises(TrustError, match="allowed signer"):
            verify(policy=replace(POLICY, allowed_signers=frozenset({name})))


def test_a_common_name_that_looks_like_a_subject_is_none() -> None:
    party = issue("CN=signer,O=otabuild tests", intermediate())
    for name, is_allowed in (("CN=signer,O=otabuild tests", False), (pki.chain(party)[0].subject, True)):
        with nullcontext() if is_allowed else pytest.raises(TrustError, match="allowed signer"):
            check_signer(pki.chain(party)[0], replace(POLICY, allowed_signers=frozenset({name})))


@has_fixtures
def test_a_reference_image_verifies_against_its_root_alone() -> None:
    with ZipFile(REFERENCE) as image:
        token, index = image.read("index.jwt"), image.read("index.json")
    own = load_anchors([str(REFERENCE_ROOT)])
    now = 1_795_500_000
    assert verify(token, index, TrustPolicy(anchors=own), now).anchor == own[0]
    with pytest.raises(TrustError, match="trusted root"):
        verify(token, index, POLICY, now)


def test_names_in_a_hostile_token_are_safe_to_print() -> None:
    evil = issue("\x1b[2J\nverified", intermediate(), own_key=pki.key("evil"))
    token = signed_by(evil, issue("\x1b[31m", root(), ca=True))
    _, problems = check_index_jwt(token, INDEX, POLICY, NOW)
    assert problems
    assert all(line.isprintable() for problem in problems for line in str(problem).split("\n  hint: "))


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@pytest.mark.parametrize("which", [0, 1])
def test_a_damaged_certificate_never_verifies_nor_crashes(which: int) -> None:
    """One changed bit of each byte of x5c, in a token that is signed again."""
    x5c = [signer().der, intermediate().der]
    for position in range(len(x5c[which])):
        changed = bytearray(x5c[which])
        changed[position] ^= 1 << position * 5 % 8
        damaged = [bytes(changed) if i == which else der for i, der in enumerate(x5c)]
        header = pki.header(x5c=[base64.b64encode(der).decode() for der in damaged])
        with pytest.raises(OtabuildError):
            verify(pki.token(header, pki.claims()))


@pytest.mark.parametrize("report", [None, SignatureReport((), None, None)])
def test_no_verdict_is_no_good_verdict(monkeypatch: pytest.MonkeyPatch, report: SignatureReport | None) -> None:
    """Fail closed if a check ever returns neither a problem nor an anchor."""
    monkeypatch.setattr(verify_module, "check_index_jwt", lambda *_args, **_options: (report, []))
    with pytest.raises(TrustError, match="was not verified"):
        verify()


def test_certificates_out_of_order_are_sorted_for_compatibility_only() -> None:
    parties = [issue("a", b := issue("b", c := issue("c", root(), ca=True), ca=True)), c, b]
    token = pki.token(pki.header(*parties), pki.claims(), parties[0].ec_key)
    with pytest.raises(TrustError, match="is not its issuer"):
        verify(token)
    report, problems = check_index_jwt(token, INDEX, POLICY, NOW, compat=True)
    assert problems == []
    assert report is not None
    assert [certificate.common_name for certificate in report.chain] == ["a", "b", "c"]
    assert report.to_value()["notes"] == ["index.jwt: x5c: the certificates of x5c are not in order; they were sorted"]


def test_certificates_in_pem_are_noted_and_read_for_compatibility_only() -> None:
    """An authority that is not for signing code is noted after them, in any image."""
    ca = issue("ca", root(), ca=True, eku=[pki.SERVER_AUTH])
    parties = (issue("signs", ca), ca)
    token = pki.token(pki.header(x5c=[party.pem.decode() for party in parties]), pki.claims(), parties[0].ec_key)
    with pytest.raises(FormatError):
        verify(token)
    report, _ = check_index_jwt(token, INDEX, POLICY, NOW, compat=True)
    assert report is not None
    narrow = "index.jwt: x5c[1]: a CA whose extended key usage excludes code signing"
    assert report.to_value()["notes"] == [
        "index.jwt: x5c: the certificates are PEM text (builders to 0.9.0)",
        narrow,
    ]
    assert verify(token=signed_by(*parties)).to_value()["notes"] == [narrow]
    assert verify().to_value()["notes"] == []
