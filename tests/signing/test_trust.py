"""Whom to trust: anchors, roots of one name, purposes, dates, revocation, replay (threats S2 to S8, S10, S16)."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from zipfile import ZipFile

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from otabuild.errors import FormatError, InputError, IntegrityError, OtabuildError, StorageError, TrustError
from otabuild.signing import trust
from otabuild.signing.certificates import Certificate
from otabuild.signing.revocation import RevocationList, load_crls
from otabuild.signing.trust import TrustPolicy, load_anchors, verify_chain
from otabuild.signing.verify import SignatureReport, check_index_jwt, verify_index_jwt
from tests import pki
from tests.pki import DAY, INDEX, NOW, YEAR, Party, intermediate, issue, root, signer

SHARED = Path(__file__).parents[2].parent / "shared" / "fixtures"
POLICY = TrustPolicy(anchors=pki.anchors())
GOOD = pki.token(pki.header(), pki.claims())


def verify(
    token: bytes = GOOD, index: bytes = INDEX, policy: TrustPolicy | None = POLICY, now: int = NOW
) -> SignatureReport:
    return verify_index_jwt(token, index, policy, now)


def signed_by(*parties: Party) -> bytes:
    return pki.token(pki.header(*parties), pki.claims(), parties[0].ec_key)


# The report.


def test_a_good_image_names_its_signer_and_root() -> None:
    report = verify()
    assert [c.subject for c in report.chain] == ["CN=signer,O=otabuild tests", "CN=intermediate,O=otabuild tests"]
    assert report.anchor == pki.anchors()[0]
    value = report.to_value()
    assert value["trusted"] is True
    assert value["signed-at"] == "2026-01-01T00:00:00Z"


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


def test_all_that_is_wrong_is_collected() -> None:
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


# Anchors.


def test_an_unknown_root_raises() -> None:
    """S3."""
    policy = TrustPolicy(anchors=pki.anchors(issue("root 2"), issue("root 3")))
    with pytest.raises(TrustError, match="does not end at a trusted root"):
        verify(policy=policy)
    with pytest.raises(TrustError, match="does not end at a trusted root"):
        verify_chain(pki.chain(), policy, NOW)


def test_no_anchor_at_all_raises() -> None:
    """S4."""
    with pytest.raises(TrustError):
        verify(policy=TrustPolicy(anchors=()))


def test_anchors_come_from_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    pki.save(tmp_path / "folder" / "b.pem", root())
    pki.save(tmp_path / "folder" / "a.crt", issue("root 2"), issue("root 3"))
    pki.save(tmp_path / "folder" / "middle.pem", intermediate())
    (tmp_path / "folder" / "README").write_text("not a certificate")
    (tmp_path / "folder" / "old.pem.bak").write_text("not a certificate")
    named = pki.save(tmp_path / "any name", issue("root 4"))
    found = load_anchors([str(tmp_path / "folder"), named])
    assert [anchor.common_name for anchor in found] == ["root 2", "root 3", "root", "root 4"]


@pytest.mark.parametrize(
    "content", [b"", b"text", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\x30\x82"]
)
@pytest.mark.parametrize("file", ["a.pem", "a.crt"])
def test_a_file_that_does_not_parse_is_named(tmp_path: Path, file: str, content: bytes) -> None:
    """S4."""
    pki.save(tmp_path / "root.pem", root())
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=file):
        load_anchors([str(tmp_path)])


def test_an_intermediate_or_nothing_is_no_anchor(tmp_path: Path) -> None:
    """S4."""
    with pytest.raises(TrustError, match="no trust anchor"):
        load_anchors([])
    with pytest.raises(TrustError, match="no trust anchor"):
        load_anchors([str(tmp_path)])
    pki.save(tmp_path / "middle.pem", intermediate())
    with pytest.raises(TrustError, match="an intermediate certificate is no anchor"):
        load_anchors([str(tmp_path)])
    with pytest.raises(StorageError, match="missing"):
        load_anchors([str(tmp_path / "missing")])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """S4."""
    pki.save(tmp_path / "root.pem", root())
    (tmp_path / "root.pem").chmod(0)
    with pytest.raises(StorageError, match=r"root\.pem"):
        load_anchors([str(tmp_path)])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signing", range(3))
def test_roots_of_one_name_each_stand_for_themselves(order: tuple[int, ...], signing: int) -> None:
    """S5: two trusted roots and a third one, all with one name; any order."""
    roots = [issue("root", own_key=pki.key(f"root key {i}"), not_after=NOW + (i + 1) * YEAR) for i in range(3)]
    ca = issue("ca", roots[signing], ca=True)
    token = signed_by(issue("leaf", ca), ca)
    trusted = [roots[i] for i in order if i != 2]
    policy = TrustPolicy(anchors=pki.anchors(*trusted))
    if signing == 2:
        with pytest.raises(TrustError):
            verify(token, policy=policy)
    else:
        report = verify(token, policy=policy)
        assert report.anchor is not None
        assert report.anchor.x509 == roots[signing].certificate


def test_a_renewed_root_with_the_same_key_is_as_good() -> None:
    old = issue("root", own_key=pki.key("root"), not_after=NOW - 1)
    assert verify(policy=TrustPolicy(anchors=pki.anchors(old, root()))).anchor == pki.anchors()[0]
    with pytest.raises(TrustError, match="expired"):
        verify(policy=TrustPolicy(anchors=pki.anchors(old)))


# The shape of chains: S6, S7, S10. The rules one by one are tests of the preflight.


@cache
def chains() -> dict[str, tuple[list[Party], Party]]:
    """Chains that no verifier may accept, with the root they would end at."""
    leaf_as_ca = issue("leaf", intermediate())
    deep = issue("deep", intermediate(), ca=True)
    no_sign = issue("ca", root(), ca=True, usage=["crl_sign"])
    weak_root = issue("weak root", own_key=rsa.generate_private_key(65537, 1024))
    p192_root = issue("p192 root", own_key=ec.derive_private_key(12345, ec.SECP192R1()))
    limited = issue("limited", path_length=0)
    under_limited = issue("under", limited, ca=True)
    no_ca_root = issue("plain root", ca=False)
    not_critical = issue("lax root", critical=False)
    no_sign_root = issue("mute root", usage=["digital_signature"])
    return {
        "leaf as CA": ([issue("victim", leaf_as_ca), leaf_as_ca, intermediate()], root()),
        "path length": ([issue("victim", deep), deep, intermediate()], root()),
        "CA without keyCertSign": ([issue("victim", no_sign), no_sign], root()),
        "RSA-1024 root": ([issue("victim", weak_root)], weak_root),
        "P-192 root": ([issue("victim", p192_root)], p192_root),
        "path length of the root": ([issue("victim", under_limited), under_limited], limited),
        "root that is no CA": ([issue("victim", no_ca_root)], no_ca_root),
        "root without critical constraints": ([issue("victim", not_critical)], not_critical),
        "root without keyCertSign": ([issue("victim", no_sign_root)], no_sign_root),
        "CA as signer": ([intermediate()], root()),
        "no digitalSignature": ([issue("victim", intermediate(), usage=["key_agreement"]), intermediate()], root()),
        "EKU serverAuth": ([issue("victim", intermediate(), eku=[pki.SERVER_AUTH]), intermediate()], root()),
        "root inside": ([signer(), intermediate(), root()], root()),
        "signer twice": ([signer(), signer(), intermediate()], root()),
        "an extra certificate": ([signer(), intermediate(), issue("extra", root(), ca=True)], root()),
        "no intermediate": ([signer()], root()),
    }


@pytest.mark.parametrize("case", chains())
def test_chains_that_nobody_may_accept(case: str) -> None:
    parties, anchor = chains()[case]
    with pytest.raises(TrustError):
        verify(signed_by(*parties), policy=TrustPolicy(anchors=pki.anchors(anchor)))


@pytest.mark.parametrize("case", chains())
def test_path_validation_is_a_second_judge(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With our own rules switched off, the cryptography package still refuses."""
    monkeypatch.setattr(trust, "chain_problems", lambda *_args, **_options: ())
    monkeypatch.setattr(trust, "authority_problems", lambda *_args: ())
    parties, anchor = chains()[case]
    with pytest.raises(TrustError):
        verify(signed_by(*parties), policy=TrustPolicy(anchors=pki.anchors(anchor)))


def test_extended_key_usage() -> None:
    """S7."""
    plain = signed_by(issue("plain", intermediate()), intermediate())
    verify(plain)
    verify(policy=replace(POLICY, strict_eku=True))
    with pytest.raises(TrustError, match="code signing"):
        verify(plain, policy=replace(POLICY, strict_eku=True))


@pytest.mark.parametrize("length", range(1, 7))
def test_chains_of_one_to_six_certificates(length: int) -> None:
    parties = [root()]
    for depth in range(length - 1):
        parties.append(issue(f"ca {depth}", parties[-1], ca=True))
    verify(signed_by(issue("leaf", parties[-1]), *reversed(parties[1:])))


def test_roots_may_have_other_keys() -> None:
    for own in (rsa.generate_private_key(65537, 2048), pki.key("p384", ec.SECP384R1)):
        other = issue("root 2", own_key=own)
        verify(signed_by(issue("leaf", other)), policy=TrustPolicy(anchors=pki.anchors(other)))


# Time: S8, S16.


@pytest.mark.parametrize(
    ("now", "text"),
    [(0, "not yet valid"), (NOW - 2 * YEAR, "not yet valid"), (NOW + 10 * YEAR, "expired"), (4_102_444_800, "expired")],
)
def test_clocks_that_are_wrong(now: int, text: str) -> None:
    with pytest.raises(TrustError, match=text):
        verify(now=now)


@pytest.mark.parametrize("which", ["signer", "intermediate", "root"])
@pytest.mark.parametrize(
    ("start", "end", "text"), [(NOW - YEAR, NOW - 1, "expired"), (NOW + 1, NOW + YEAR, "not yet valid")]
)
def test_every_certificate_has_to_be_valid(which: str, start: int, end: int, text: str) -> None:
    dates = {which: {"not_before": start, "not_after": end}}
    top = issue("root", **dates.get("root", {}))  # type: ignore[arg-type]  # dates alone
    ca = issue("intermediate", top, ca=True, **dates.get("intermediate", {}))  # type: ignore[arg-type]  # as above
    leaf = issue("signer", ca, **dates.get("signer", {}))  # type: ignore[arg-type]  # as above
    policy = TrustPolicy(anchors=pki.anchors(top))
    token = pki.token(pki.header(leaf, ca), pki.claims(iat=NOW - YEAR), leaf.ec_key)
    with pytest.raises(TrustError, match=text) as caught:
        verify(token, policy=policy)
    assert f"CN={which}" in str(caught.value)
    assert "valid 20" in str(caught.value)
    verify(token, policy=replace(policy, at=(start + end) // 2))


def test_the_last_second_counts() -> None:
    verify(now=NOW + 9 * YEAR)
    with pytest.raises(TrustError, match="expired"):
        verify(now=NOW + 9 * YEAR + 1)


def test_a_signature_from_the_future_is_refused() -> None:
    verify(now=NOW)
    with pytest.raises(TrustError, match="in the future"):
        verify(now=NOW - 1)
    with pytest.raises(TrustError, match="in the future"):
        verify(policy=replace(POLICY, at=NOW - 1))


def test_replay_of_an_old_image() -> None:
    """S16."""
    verify(policy=replace(POLICY, not_before=NOW, max_age=DAY), now=NOW + DAY)
    with pytest.raises(TrustError, match="too old"):
        verify(policy=replace(POLICY, not_before=NOW + 1), now=NOW + DAY)
    with pytest.raises(TrustError, match="too old"):
        verify(policy=replace(POLICY, max_age=DAY - 1), now=NOW + DAY)
    timeless = pki.token(pki.header(), pki.claims(iat=None))
    verify(timeless)
    with pytest.raises(TrustError, match="too old"):
        verify(timeless, policy=replace(POLICY, max_age=10 * YEAR))


def test_allowed_signers() -> None:
    for name in ("signer", "CN=signer,O=otabuild tests"):
        verify(policy=replace(POLICY, allowed_signers=frozenset({"another", name})))
    for name in ("Signer", "sign", "intermediate", "CN=signer"):
        with pytest.raises(TrustError, match="allowed signer"):
            verify(policy=replace(POLICY, allowed_signers=frozenset({name})))


# Revocation: S8.


def crls(*lists: x509.CertificateRevocationList) -> tuple[RevocationList, ...]:
    return tuple(RevocationList(crl, f"{i}.crl") for i, crl in enumerate(lists))


def revocation(*lists: x509.CertificateRevocationList) -> TrustPolicy:
    return replace(POLICY, crls=crls(*lists))


def test_current_lists_that_name_nobody_are_fine() -> None:
    verify(policy=revocation(pki.crl(root()), pki.crl(intermediate())))


@pytest.mark.parametrize("revoked", ["signer", "intermediate"])
def test_a_revoked_certificate_is_named(revoked: str) -> None:
    lists = [pki.crl(root(), [intermediate()]), pki.crl(intermediate())]
    if revoked == "signer":
        lists = [pki.crl(root()), pki.crl(intermediate(), [signer()])]
    with pytest.raises(TrustError, match="revoked at 2025-12-31") as caught:
        verify(policy=revocation(*lists))
    assert f"subject CN={revoked}" in str(caught.value)


def test_a_newer_list_does_not_hide_an_older_revocation() -> None:
    lists = [pki.crl(root()), pki.crl(intermediate(), [signer()], until=NOW - 1), pki.crl(intermediate())]
    with pytest.raises(TrustError, match="revoked"):
        verify(policy=revocation(*lists))


@pytest.mark.parametrize(
    "lists",
    [
        [pki.crl(intermediate())],
        [pki.crl(root())],
        [pki.crl(root()), pki.crl(intermediate(), until=NOW - 1)],
        [pki.crl(root()), pki.crl(intermediate(), this=NOW + 1, until=NOW + 2)],
        [pki.crl(root()), pki.crl(intermediate(), signed_with=pki.key("another"))],
        [pki.crl(root()), pki.crl(issue("another", root(), ca=True))],
    ],
    ids=["none of the root", "none of the intermediate", "stale", "of the future", "forged", "of another CA"],
)
def test_lists_that_do_not_tell(lists: list[x509.CertificateRevocationList]) -> None:
    with pytest.raises(TrustError, match="no current revocation list"):
        verify(policy=revocation(*lists))


def test_an_issuer_without_the_right_to_revoke() -> None:
    ca = issue("ca", root(), ca=True, usage=["key_cert_sign"])
    with pytest.raises(TrustError, match="no current revocation list"):
        verify(signed_by(issue("leaf", ca), ca), policy=revocation(pki.crl(root()), pki.crl(ca)))


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_lists_are_read_in_both_forms(tmp_path: Path, encoding: Encoding) -> None:
    (tmp_path / "a.crl").write_bytes(pki.crl(root()).public_bytes(encoding))
    (found,) = load_crls([str(tmp_path / "a.crl")])
    assert found.x509.issuer == root().certificate.subject


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        pki.crl(root(), extensions=[(x509.DeltaCRLIndicator(1), True)]).public_bytes(Encoding.PEM),
    ],
    ids=["empty", "text", "junk", "delta"],
)
def test_other_files_are_no_lists(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.crl").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.crl"):
        load_crls([str(tmp_path / "a.crl")])


# An image of the reference builder.


@pytest.mark.skipif(not SHARED.is_dir(), reason="the fixture images are not here")
def test_a_reference_image_verifies_against_its_root_alone() -> None:
    with ZipFile(SHARED / "reference-full.zip") as image:
        token, index = image.read("index.jwt"), image.read("index.json")
    own = load_anchors([str(SHARED / "reference-root-ca.pem")])
    now = 1_795_500_000
    assert verify(token, index, TrustPolicy(anchors=own), now).anchor == own[0]
    with pytest.raises(TrustError, match="trusted root"):
        verify(token, index, POLICY, now)


def test_a_certificate_knows_where_it_came_from() -> None:
    with pytest.raises(TrustError) as caught:
        verify(signed_by(signer()), policy=TrustPolicy(anchors=(Certificate(root().certificate, "r"),)))
    assert caught.value.where == "index.jwt: x5c[0]"
