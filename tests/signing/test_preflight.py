"""The preflight: every common mistake with certificates stops before any work, with a helpful message."""

from __future__ import annotations

import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from otabuild.errors import LimitError, OtabuildError, TrustError
from otabuild.signing.certificates import Certificate
from otabuild.signing.chain import VERIFICATION, chain_problems
from otabuild.signing.preflight import preflight
from otabuild.signing.trust import TrustPolicy
from tests import pki
from tests.pki import DAY, NOW, YEAR, Party, intermediate, issue, root, signer
from tests.refusals import Pin
from tests.signing.mistakes import MISTAKES, OLD_NAME, leaf, long_chain, middle

KEY = signer().ec_key.public_key()
POLICY = TrustPolicy(anchors=pki.anchors())
FACTS = re.compile(r"subject .*, issuer .*, valid \d{4}-\d\d-\d\dT[\d:]+Z to \d{4}-")


def run(
    *parties: Party, timestamp: int = NOW - DAY, key: ec.EllipticCurvePublicKey | None = None, now: int = NOW
) -> list[str]:
    return preflight(pki.chain(*parties), key, timestamp, now, policy=POLICY)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_stops_with_file_fact_and_remedy(mistake: str) -> None:
    """S6, S7, S8, S10, S13, S19."""
    parties, where, fact, remedy = MISTAKES[mistake]
    with pytest.raises(TrustError) as caught:
        run(*parties())
    error = caught.value
    assert error.where == where, str(error)
    assert fact in error.what, str(error)
    assert remedy in error.hint, str(error)
    assert FACTS.search(str(error.observed)), str(error)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_told_with_all_that_follows_from_it(mistake: str, pin: Pin) -> None:
    parties, *_ = MISTAKES[mistake]
    for problem in chain_problems(pki.chain(*parties()), {VERIFICATION: NOW}):
        pin(problem)


def test_there_are_thirty_mistakes() -> None:
    assert len(MISTAKES) >= 30


def test_more_than_six_certificates() -> None:
    with pytest.raises(LimitError, match="too many"):
        run(*long_chain(7))


def test_six_certificates_are_fine() -> None:
    assert not run(*long_chain(6))


def test_no_certificate_at_all() -> None:
    with pytest.raises(OtabuildError, match="no certificate"):
        preflight([], None, NOW, NOW)


def test_another_key() -> None:
    with pytest.raises(TrustError, match="does not belong to this certificate") as caught:
        run(key=pki.key("another").public_key())
    assert caught.value.where == "0.pem"
    assert "openssl pkey -in KEY -pubout" in caught.value.hint


def test_a_timestamp_in_the_future() -> None:
    with pytest.raises(TrustError, match="in the future") as caught:
        run(timestamp=NOW + 1)
    assert "SOURCE_DATE_EPOCH" in caught.value.hint


@pytest.mark.parametrize(
    "parties",
    [
        [signer(), intermediate()],
        [leaf(eku=[]), intermediate()],
        [leaf(usage=None), intermediate()],
        [leaf(basic=False), intermediate()],
        [leaf(eku=[pki.SERVER_AUTH, pki.CODE_SIGNING]), intermediate()],
        [issue("signer", root())],
        middle(usage=None),
        middle(path_length=3),
        [leaf(not_after=NOW + YEAR, not_before=NOW - DAY), intermediate()],
        [leaf(extensions=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b""), False)]), intermediate()],
        [leaf(extensions=[(x509.SubjectAlternativeName([x509.DNSName("example.org")]), False)]), intermediate()],
    ],
)
def test_good_chains_pass(parties: list[Party]) -> None:
    assert run(*parties, key=KEY) == []


def test_the_key_may_be_unknown() -> None:
    assert run(key=None) == []


def test_soon_expiring_certificates_are_a_warning() -> None:
    (warning,) = run(leaf(not_after=NOW + 29 * DAY), intermediate())
    assert "0.pem" in warning
    assert "2026-01-30T00:00:00Z" in warning
    assert run(leaf(not_after=NOW + 30 * DAY - 1), intermediate()) != []
    assert run(leaf(not_after=NOW + 30 * DAY), intermediate()) == []


def test_without_a_policy_the_root_is_not_looked_for() -> None:
    strange = [issue("signer", ca := issue("ca", issue("root 2"), ca=True)), ca]
    assert preflight([Certificate(p.certificate, "x") for p in strange], None, NOW, NOW) == []


@pytest.mark.parametrize("parties", [[signer()], [issue("signer", root())], [leaf(eku=[])]])
def test_a_chain_of_one_is_a_warning_where_no_root_tells_whether_it_is_whole(parties: list[Party]) -> None:
    chain = pki.chain(*parties)
    (warning,) = preflight(chain, None, NOW - DAY, NOW)
    assert warning.startswith("0.pem: whether a root issued the signing certificate cannot be told")
    assert f"(observed {chain[0].facts})" in warning
    assert "verify: {trust:" in warning


def test_a_chain_with_an_issuer_is_believed_where_nothing_says_whom_to_trust() -> None:
    assert not preflight(pki.chain(), None, NOW - DAY, NOW)


@pytest.mark.parametrize(
    ("parties", "what"),
    [
        (
            [signer(), issue("intermediate", root(), ca=True, own_key=pki.key(OLD_NAME))],
            ["0.pem: not signed with the key of its issuer's certificate 1.pem"],
        ),
        (
            [issue("leaf", ed := issue("ed", root(), ca=True, own_key=ed25519.Ed25519PrivateKey.generate())), ed],
            ["0.pem: signed by its issuer with a weak or unknown hash", "1.pem: its key is not on the curve P-256"],
        ),
        (
            [issue("leaf", signed_with=ed25519.Ed25519PrivateKey.generate(), issuer=intermediate()), intermediate()],
            [
                "0.pem: signed by its issuer with a weak or unknown hash",
                "0.pem: not signed with the key of its issuer's certificate 1.pem",
            ],
        ),
    ],
)
def test_all_that_is_wrong_with_a_chain_is_told(parties: list[Party], what: list[str]) -> None:
    found = chain_problems(pki.chain(*parties), {VERIFICATION: NOW})
    assert [f"{problem.where}: {problem.what}" for problem in found] == what
