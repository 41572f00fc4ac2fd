"""Chains with one mistake each, and what a message must say about it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests import pki
from tests.pki import DAY, NOW, Party, intermediate, issue, root, signer


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
