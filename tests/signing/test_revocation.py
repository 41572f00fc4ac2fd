"""Revocation lists: if there are any, every issuer needs one (threat S8)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from otabuild.errors import InputError, TrustError
from otabuild.signing.revocation import RevocationList, check_revocation, load_crls
from otabuild.signing.trust import TrustPolicy, verify_chain
from tests import pki
from tests.pki import NOW, intermediate, issue, root, signer
from tests.signing import der

_NAMES = ExtensionOID.SUBJECT_ALTERNATIVE_NAME
POLICY = TrustPolicy(anchors=pki.anchors())


def crls(*lists: x509.CertificateRevocationList) -> tuple[RevocationList, ...]:
    return tuple(RevocationList(crl, f"{i}.crl") for i, crl in enumerate(lists))


def revocation(*lists: x509.CertificateRevocationList) -> TrustPolicy:
    return replace(POLICY, crls=crls(*lists))


def test_current_lists_that_name_nobody_are_fine() -> None:
    verify_chain(pki.chain(), revocation(pki.crl(root()), pki.crl(intermediate())), NOW)


@pytest.mark.parametrize("revoked", ["signer", "intermediate"])
def test_a_revoked_certificate_is_named(revoked: str) -> None:
    lists = [pki.crl(root(), [intermediate()]), pki.crl(intermediate())]
    if revoked == "signer":
        lists = [pki.crl(root()), pki.crl(intermediate(), [signer()])]
    with pytest.raises(TrustError, match="revoked at 2025-12-31") as caught:
        verify_chain(pki.chain(), revocation(*lists), NOW)
    assert f"subject CN={revoked}" in str(caught.value)


def test_a_newer_list_does_not_hide_an_older_revocation() -> None:
    lists = [pki.crl(root()), pki.crl(intermediate(), [signer()], until=NOW - 1), pki.crl(intermediate())]
    with pytest.raises(TrustError, match="revoked"):
        verify_chain(pki.chain(), revocation(*lists), NOW)


@pytest.mark.parametrize(
    "lists",
    [
        [pki.crl(intermediate())],
        [pki.crl(root())],
        [pki.crl(root()), pki.crl(intermediate(), until=NOW - 1)],
        [pki.crl(root()), pki.crl(intermediate(), this=NOW + 1, until=NOW + 2)],
        [pki.crl(root()), pki.crl(intermediate(), signed_with=pki.key("another"))],
        [pki.crl(root()), pki.crl(issue("another", root(), ca=True))],
        [pki.crl(root()), pki.crl(issue("another", root(), ca=True, own_key=intermediate().key))],
    ],
    ids=[
        "none of the root",
        "none of the intermediate",
        "stale",
        "of the future",
        "forged",
        "of another CA",
        "of another CA with the same key",
    ],
)
def test_lists_that_do_not_tell(lists: list[x509.CertificateRevocationList]) -> None:
    with pytest.raises(TrustError, match="no current revocation list"):
        verify_chain(pki.chain(), revocation(*lists), NOW)


@pytest.mark.parametrize(
    ("this", "until", "current"),
    [(NOW, NOW + 9, True), (NOW + 1, NOW + 9, False), (NOW - 9, NOW, True), (NOW - 9, NOW - 1, False)],
    ids=["its first second", "a second early", "its last second", "a second late"],
)
def test_a_list_is_current_from_its_first_to_its_last_second(this: int, until: int, current: bool) -> None:
    lists = [pki.crl(root()), pki.crl(intermediate(), this=this, until=until)]
    if current:
        verify_chain(pki.chain(), revocation(*lists), NOW)
    else:
        with pytest.raises(TrustError, match="no current revocation list"):
            verify_chain(pki.chain(), revocation(*lists), NOW)


def test_the_verdict_of_a_list_changes_with_its_first_second_and_after_its_last() -> None:
    assert RevocationList(pki.crl(root(), this=NOW, until=NOW + 9), "x").dates == (NOW, NOW + 10)


def test_an_issuer_without_the_right_to_revoke() -> None:
    ca = issue("ca", root(), ca=True, usage=["key_cert_sign"])
    with pytest.raises(TrustError, match="no current revocation list"):
        verify_chain(pki.chain(issue("leaf", ca), ca), revocation(pki.crl(root()), pki.crl(ca)), NOW)


def test_an_issuer_without_key_usage_may_revoke() -> None:
    ca = issue("ca", root(), ca=True, usage=None)
    policy = revocation(pki.crl(root()), pki.crl(ca))
    assert verify_chain(pki.chain(issue("leaf", ca), ca), policy, NOW) == pki.anchors()[0]


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_lists_are_read_in_both_forms(tmp_path: Path, encoding: Encoding) -> None:
    (tmp_path / "a.crl").write_bytes(pki.crl(root()).public_bytes(encoding))
    (found,) = load_crls([str(tmp_path / "a.crl")])
    assert found.x509.issuer == root().certificate.subject


def _poked(old: bytes, new: bytes) -> bytes:
    der = pki.crl(root(), [intermediate()]).public_bytes(Encoding.DER)
    at = der.rindex(old) if len(old) > 3 else der.index(old)
    return der[:at] + new + der[at + len(old) :]


_PART = x509.IssuingDistributionPoint(
    full_name=None,
    relative_name=None,
    only_contains_user_certs=True,
    only_contains_ca_certs=False,
    only_some_reasons=None,
    indirect_crl=False,
    only_contains_attribute_certs=False,
)


def test_every_list_of_a_file_counts(tmp_path: Path) -> None:
    lists = [pki.crl(root()), pki.crl(intermediate()), pki.crl(intermediate(), [signer()])]
    (tmp_path / "all.crl").write_bytes(
        b"Certificate Revocation List\n".join(crl.public_bytes(Encoding.PEM) for crl in lists)
    )
    found = load_crls([str(tmp_path / "all.crl")])
    assert [one.x509 for one in found] == lists
    with pytest.raises(TrustError, match="revoked"):
        verify_chain(pki.chain(), replace(POLICY, crls=found), NOW)


def test_text_before_a_list_is_passed_over(tmp_path: Path) -> None:
    text = b"Certificate Revocation List (CRL):\n    Version 2\n"
    (tmp_path / "a.crl").write_bytes(text + pki.crl(root()).public_bytes(Encoding.PEM))
    assert len(load_crls([str(tmp_path / "a.crl")])) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        pki.crl(root(), extensions=[(x509.DeltaCRLIndicator(1), True)]).public_bytes(Encoding.PEM),
        pki.crl(root(), extensions=[(x509.DeltaCRLIndicator(1), False)]).public_bytes(Encoding.PEM),
        pki.crl(root(), extensions=[(_PART, False)]).public_bytes(Encoding.PEM),
        pki.crl(root()).public_bytes(Encoding.PEM) + root().pem,
        pki.crl(root()).public_bytes(Encoding.PEM) + b"-----BEGIN X509 CRL-----\nAAAA\n",
        _poked(b"\x02\x01\x01", b"\x02\x01\x07"),
        _poked(b"251231000000Z", b"251331000000Z"),
    ],
    ids=[
        "empty",
        "text",
        "junk",
        "delta",
        "delta, not critical",
        "part",
        "with a certificate",
        "cut",
        "version",
        "date of a revocation",
    ],
)
def test_other_files_are_no_lists(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.crl").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.crl"):
        load_crls([str(tmp_path / "a.crl")])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (root().pem, "observed a certificate"),
        (pki.crl(root()).public_bytes(Encoding.PEM) + root().pem, "observed a certificate"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "observed a private key"),
        (b"-----BEGIN X509 CRL-----\nAAAA\n", "a block without its end"),
        (b"-----BEGIN X509 CRL-----\nA*==\n-----END X509 CRL-----\n", "not base64"),
        (b"hello", "expected PEM"),
        (b"", "expected PEM"),
    ],
)
def test_a_file_that_is_no_list_says_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.crl").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.crl: .*{said}"):
        load_crls([str(tmp_path / "a.crl")])


@pytest.mark.filterwarnings("error")
def test_a_list_cannot_be_checked_against_an_issuer_whose_extensions_cannot_be_read() -> None:
    odd = issue("ca", root(), ca=True, extensions=[(x509.UnrecognizedExtension(_NAMES, b"\x30\x03\xff"), False)])
    path = pki.chain(issue("leaf", odd), odd)
    with pytest.raises(InputError, match=r"0\.crl: cannot be checked"):
        check_revocation(path, crls(pki.crl(odd)), NOW)


def test_without_lists_nothing_is_looked_up() -> None:
    check_revocation(pki.chain(), (), NOW)


def test_a_list_without_an_end_is_never_current() -> None:
    raw = der.revocation_list(root().certificate.subject.public_bytes(), root().ec_key, has_end=False)
    endless = crls(x509.load_der_x509_crl(raw))
    assert endless[0].dates == (1_577_836_800,)
    with pytest.raises(TrustError, match="2020-01-01T00:00:00Z to no end"):
        check_revocation(pki.chain(intermediate(), root()), endless, NOW)


def test_a_list_may_have_extensions_that_make_it_no_other_kind(tmp_path: Path) -> None:
    crl = pki.crl(root(), [intermediate()], extensions=[(x509.CRLNumber(7), False)])
    (tmp_path / "a.crl").write_bytes(crl.public_bytes(Encoding.DER))
    assert [found.x509 for found in load_crls([str(tmp_path / "a.crl")])] == [crl]
