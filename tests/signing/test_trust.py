"""Whom to trust: anchors, roots of one name, purposes, dates, revocation, replay (threats S2 to S8, S10, S16)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from otabuild.errors import InputError, StorageError, TrustError
from otabuild.signing import trust
from otabuild.signing.authenticity import SignatureReport, verify_index_jwt
from otabuild.signing.certificates import Certificate
from otabuild.signing.trust import TrustPolicy, load_anchors, verify_chain
from tests import pki
from tests.pki import INDEX, NOW, YEAR, Party, intermediate, issue, root, signer
from tests.rootfs.trees import as_nobody

POLICY = TrustPolicy(anchors=pki.anchors())
GOOD = pki.token(pki.header(), pki.claims())


def verify(
    token: bytes = GOOD, index: bytes = INDEX, policy: TrustPolicy | None = POLICY, now: int = NOW
) -> SignatureReport:
    return verify_index_jwt(token, index, policy, now)


def signed_by(*parties: Party) -> bytes:
    return pki.token(pki.header(*parties), pki.claims(), parties[0].ec_key)


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


def test_an_intermediate_is_no_anchor_however_it_is_given() -> None:
    with pytest.raises(TrustError, match="does not end at a trusted root"):
        verify(signed_by(signer()), policy=TrustPolicy(anchors=pki.anchors(intermediate())))


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
    with pytest.raises(TrustError, match="an intermediate certificate is not an anchor"):
        load_anchors([str(tmp_path)])
    with pytest.raises(StorageError, match="missing"):
        load_anchors([str(tmp_path / "missing")])


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """S4."""
    pki.save(tmp_path / "root.pem", root())
    (tmp_path / "root.pem").chmod(0)
    with as_nobody(tmp_path), pytest.raises(StorageError, match=r"root\.pem"):
        load_anchors([str(tmp_path)])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signing", range(3))
def test_roots_of_one_name_each_stand_for_themselves(order: tuple[int, ...], signing: int) -> None:
    """S5: two trusted roots and a third one with the same name, in any order."""
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


# The shape of chains: S6, S7, S10. The tests of the preflight check the rules one by one.


@cache
def chains() -> dict[str, tuple[list[Party], Party]]:
    """Return chains that no verifier may accept, with the root at which they would end."""
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
        "CA as signer, for everything": (
            [issue("ca", root(), ca=True, usage=["digital_signature", "key_cert_sign"])],
            root(),
        ),
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
    """If otabuild's own rules are disabled, the cryptography package still refuses the chain."""
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
    verify(token, policy=policy, now=(start + end) // 2)


def test_the_last_second_counts() -> None:
    verify(now=NOW + 9 * YEAR)
    with pytest.raises(TrustError, match="expired"):
        verify(now=NOW + 9 * YEAR + 1)


def test_a_certificate_knows_where_it_came_from() -> None:
    with pytest.raises(TrustError) as caught:
        verify(signed_by(signer()), policy=TrustPolicy(anchors=(Certificate(root().certificate, "r"),)))
    assert caught.value.where == "index.jwt: x5c[0]"


def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "anchors"
    folder.mkdir()
    pki.save(folder / "root.pem", root())
    folder.chmod(0o300)
    with as_nobody(tmp_path), pytest.raises(StorageError, match="anchors"):
        load_anchors([str(folder)])
    folder.chmod(0o700)
