"""The preflight: every common mistake with certificates stops before any work, with a helpful message."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from otabuild.errors import LimitError, OtabuildError, TrustError
from otabuild.signing.certificates import Certificate
from otabuild.signing.chain import VERIFICATION, chain_problems
from otabuild.signing.preflight import preflight
from otabuild.signing.trust import TrustPolicy
from tests import pki
from tests.pki import DAY, NOW, YEAR, Party, intermediate, issue, root, signer

KEY = signer().ec_key.public_key()
POLICY = TrustPolicy(anchors=pki.anchors())


def run(
    *parties: Party, timestamp: int = NOW - DAY, key: ec.EllipticCurvePublicKey | None = None, now: int = NOW
) -> list[str]:
    return preflight(pki.chain(*parties), key, timestamp, now, policy=POLICY)


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def leaf(**options: object) -> Party:
    """Return a signing certificate with one difference."""
    return issue("signer", intermediate(), **options)  # type: ignore[arg-type]  # options of issue, named by the cases


def middle(**options: object) -> list[Party]:
    """Return a chain whose intermediate has one difference."""
    ca = issue("intermediate", root(), **({"ca": True} | options))  # type: ignore[arg-type]  # as above
    return [issue("signer", ca), ca]


def long_chain(length: int) -> list[Party]:
    chain = [root()]
    for depth in range(length - 1):
        chain.append(issue(f"ca {depth}", chain[-1], ca=True))
    return [issue("signer", chain[-1]), *reversed(chain[1:])]


# A certificate of version 1 for the key of the signer; the cryptography package cannot make one.
V1 = x509.load_pem_x509_certificate(b"""\
-----BEGIN CERTIFICATE-----
MIIBQjCB6gIBBzAKBggqhkjOPQQDAjAwMRcwFQYDVQQKDA5vdGFidWlsZCB0ZXN0
czEVMBMGA1UEAwwMaW50ZXJtZWRpYXRlMCAXDTI2MTEyMzE5MTc1NFoYDzIxMjYx
MDMwMTkxNzU0WjAqMRcwFQYDVQQKDA5vdGFidWlsZCB0ZXN0czEPMA0GA1UEAwwG
c2lnbmVyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEt+m9uNnTrh4U9DfUww3Z
4WYCZIPKH4mMVRqqtpmdyVr1Kr41EzspTxF3mw2UQkv6IzphvlwiDfEcq2RRpt3z
jzAKBggqhkjOPQQDAgNHADBEAiBPwG+w5d9SNTWYQNf2/bIKvbosnPe2+yz+1x7D
XH0pPQIgIPwaCPfFibnUfrePHzd4DoCRrsNwXtvQIdiwKgddclc=
-----END CERTIFICATE-----""")
FACTS = re.compile(r"subject .*, issuer .*, valid \d{4}-\d\d-\d\dT[\d:]+Z to \d{4}-")
OLD_NAME = "of another CA"

MISTAKES: dict[str, tuple[Callable[[], list[Party]], str, str, str]] = {
    # name: (chain, the file at fault, the fact, a word of the remedy)
    "expired": (
        lambda: [leaf(not_after=NOW - 2 * DAY), intermediate()],
        "0.pem",
        "expired at the timestamp",
        "renewed",
    ),
    "expired since": (lambda: [leaf(not_after=NOW - 1), intermediate()], "0.pem", "expired at today", "renewed"),
    "not yet valid": (lambda: [leaf(not_before=NOW + 1), intermediate()], "0.pem", "not yet valid at the t", "clock"),
    "younger than the build": (
        lambda: [leaf(not_before=NOW - 1), intermediate()],
        "0.pem",
        "not yet valid at the timestamp",
        "timestamp",
    ),
    "intermediate expired": (lambda: middle(not_after=NOW - 1), "1.pem", "expired at today", "renewed"),
    "intermediate not yet valid": (lambda: middle(not_before=NOW + 1), "1.pem", "not yet valid", "clock"),
    "P-384": (
        lambda: [leaf(own_key=pki.key("x", ec.SECP384R1)), intermediate()],
        "0.pem",
        "not on the curve P-256",
        "prime256v1",
    ),
    "P-521": (
        lambda: [leaf(own_key=pki.key("x", ec.SECP521R1)), intermediate()],
        "0.pem",
        "not on the curve P-256",
        "prime256v1",
    ),
    "secp256k1": (
        lambda: [leaf(own_key=pki.key("x", ec.SECP256K1)), intermediate()],
        "0.pem",
        "not on the curve P-256",
        "prime256v1",
    ),
    "RSA": (lambda: [leaf(own_key=rsa_key(2048)), intermediate()], "0.pem", "not on the curve P-256", "prime256v1"),
    "Ed25519": (
        lambda: [leaf(own_key=ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))), intermediate()],
        "0.pem",
        "not on the curve P-256",
        "prime256v1",
    ),
    "P-384 intermediate": (
        lambda: middle(own_key=pki.key("x", ec.SECP384R1)),
        "1.pem",
        "not on the curve P-256",
        "prime256v1",
    ),
    "RSA intermediate": (lambda: middle(own_key=rsa_key(1024)), "1.pem", "not on the curve P-256", "prime256v1"),
    "weak hash": (lambda: [leaf(digest=hashes.SHA224()), intermediate()], "0.pem", "weak or unknown hash", "SHA-256"),
    "version 1": (lambda: [Party(V1, signer().key), intermediate()], "0.pem", "not an X.509 version 3", "version 3"),
    "self-signed": (lambda: [issue("signer", ca=False)], "0.pem", "self-signed", "pki demo"),
    "self-signed CA": (lambda: [root()], "0.pem", "self-signed", "pki demo"),
    "self-issued with another key": (
        lambda: [issue("signer", ca := issue("root", root(), ca=True, own_key=pki.key("next root"))), ca],
        "1.pem",
        "self-signed",
        "leave the root out",
    ),
    "root in the chain": (lambda: [signer(), intermediate(), root()], "2.pem", "self-signed", "leave the root out"),
    "CA as signer": (
        lambda: [intermediate()],
        "0.pem",
        "a CA certificate cannot sign images",
        "signing certificate first",
    ),
    "chain upside down": (lambda: [intermediate(), signer()], "0.pem", "a CA certificate cannot sign", "first"),
    "intermediate left out": (lambda: [signer()], "0.pem", "does not end at a trusted root", "missing intermediate"),
    "gap": (
        lambda: [(c := long_chain(4))[0], c[2], c[3]],
        "0.pem",
        "is not its issuer",
        "add the certificate with subject CN=ca 2",
    ),
    "wrong order": (
        lambda: [(c := long_chain(4))[0], c[2], c[1], c[3]],
        "0.pem",
        "is not its issuer",
        "2.pem comes next",
    ),
    "strange intermediate": (
        lambda: [signer(), issue("stranger", root(), ca=True)],
        "0.pem",
        "is not its issuer",
        "add the certificate with subject CN=intermediate",
    ),
    "issuer renewed with another key": (
        lambda: [signer(), issue("intermediate", root(), ca=True, own_key=pki.key(OLD_NAME))],
        "0.pem",
        "not signed with the key of",
        "openssl verify -partial_chain",
    ),
    "twice": (lambda: [signer(), signer(), intermediate()], "1.pem", "twice", "once"),
    "two signing certificates": (
        lambda: [signer(), issue("other", intermediate()), intermediate()],
        "1.pem",
        "not a CA",
        "CA:TRUE",
    ),
    "intermediate without CA:TRUE": (lambda: middle(ca=False), "1.pem", "not a CA certificate", "CA:TRUE"),
    "intermediate without basicConstraints": (lambda: middle(basic=False), "1.pem", "not a CA certificate", "CA:TRUE"),
    "basicConstraints not critical": (lambda: middle(critical=False), "1.pem", "not critical", "critical,CA:TRUE"),
    "intermediate without keyCertSign": (lambda: middle(usage=["crl_sign"]), "1.pem", "keyCertSign", "keyCertSign"),
    "path too long": (
        lambda: [issue("signer", b := issue("b", a := issue("a", root(), ca=True, path_length=0), ca=True)), b, a],
        "2.pem",
        "path length of 0",
        "larger pathlen",
    ),
    "no digitalSignature": (
        lambda: [leaf(usage=["key_agreement"]), intermediate()],
        "0.pem",
        "digitalSignature",
        "digitalSignature",
    ),
    "for servers": (
        lambda: [leaf(eku=[pki.SERVER_AUTH]), intermediate()],
        "0.pem",
        "code signing",
        "extendedKeyUsage=codeSigning",
    ),
    "unknown critical extension": (
        lambda: [
            leaf(extensions=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]),
            intermediate(),
        ],
        "0.pem",
        "unknown critical extension 1.2.3.4",
        "without",
    ),
    "another root": (
        lambda: [issue("signer", ca := issue("ca", issue("root 2"), ca=True)), ca],
        "1.pem",
        "does not end at a trusted root",
        "trust store",
    ),
    "a root of the same name": (
        lambda: [issue("signer", ca := issue("ca", issue("root", own_key=pki.key(OLD_NAME)), ca=True)), ca],
        "1.pem",
        "not signed by the trusted root of that name",
        "compare their fingerprints",
    ),
}


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
    assert run(leaf(not_after=NOW + 31 * DAY), intermediate()) == []


def test_without_a_policy_the_root_is_not_looked_for() -> None:
    strange = [issue("signer", ca := issue("ca", issue("root 2"), ca=True)), ca]
    assert preflight([Certificate(p.certificate, "x") for p in strange], None, NOW, NOW) == []


@pytest.mark.parametrize("parties", [[signer()], [issue("signer", root())], [leaf(eku=[])]])
def test_a_chain_of_one_is_a_warning_where_no_root_tells_whether_it_is_whole(parties: list[Party]) -> None:
    (warning,) = preflight(pki.chain(*parties), None, NOW - DAY, NOW)
    assert warning.startswith("0.pem: whether a root issued the signing certificate cannot be told")
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
