"""The demo certificates: valid for everything but real images."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509

from otabuild.errors import StateError
from otabuild.signing.authenticity import verify_index_jwt
from otabuild.signing.chain import load_chain
from otabuild.signing.demo_pki import write_demo_pki
from otabuild.signing.keys import read_key_file
from otabuild.signing.preflight import preflight
from otabuild.signing.signer import PemSigner, sign_index
from otabuild.signing.trust import TrustPolicy, load_anchors
from tests import pki
from tests.pki import DAY, INDEX, NOW, YEAR


def test_an_image_signed_with_it_verifies(tmp_path: Path) -> None:
    warnings: list[str] = []
    write_demo_pki(str(tmp_path / "pki"), NOW)
    pki = {path.name: str(path) for path in (tmp_path / "pki").iterdir()}
    chain = load_chain(pki["sign.pem"], [pki["intermediate.pem"]])
    signer = PemSigner(read_key_file(pki["sign.key"], None, warnings.append))
    policy = TrustPolicy(anchors=load_anchors([str(tmp_path / "pki")]), strict_eku=True)
    for timestamp in (NOW, NOW - 9 * YEAR):
        assert preflight(chain, signer.public_key, timestamp, NOW + 9 * YEAR, policy=policy) == []
        token = sign_index(INDEX, timestamp, chain, signer)
        assert verify_index_jwt(token, INDEX, policy, NOW).anchor == policy.anchors[0]
    assert not warnings


def test_it_is_marked_as_a_demo_and_its_keys_are_private(tmp_path: Path) -> None:
    written = write_demo_pki(str(tmp_path), NOW)
    assert {str(path) for path in tmp_path.iterdir()} == set(written)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if path.suffix == ".key" else 0o644)
        if path.suffix == ".pem":
            (certificate,) = load_chain(str(path))
            assert "DEMO" in certificate.subject
    assert "NOT FOR REAL IMAGES" in (tmp_path / "README.txt").read_text()


def test_each_certificate_says_what_it_is_for(tmp_path: Path) -> None:
    write_demo_pki(str(tmp_path), NOW)
    found = {}
    for role in ("root-ca", "intermediate", "sign"):
        (certificate,) = load_chain(str(tmp_path / f"{role}.pem"))
        extensions = certificate.x509.extensions
        found[role] = [certificate.subject, certificate.issuer, (extensions[0].value, extensions[0].critical)]
        assert certificate.not_before == NOW - 3652 * DAY
        assert certificate.not_after == NOW + 3652 * DAY
        usage = extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        assert usage.value == pki.key_usage(["digital_signature"] if role == "sign" else ["key_cert_sign", "crl_sign"])
        own = x509.SubjectKeyIdentifier.from_public_key(certificate.x509.public_key())
        assert extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value == own
        assert [extension.critical for extension in extensions] == [True, True, False, False, False][: len(extensions)]
    organization = "O=otabuild DEMO - not for real images"
    names = {role: f"CN=DEMO {role},{organization}" for role in found}
    assert found == {
        "root-ca": [names["root-ca"], names["root-ca"], (x509.BasicConstraints(ca=True, path_length=1), True)],
        "intermediate": [
            names["intermediate"],
            names["root-ca"],
            (x509.BasicConstraints(ca=True, path_length=0), True),
        ],
        "sign": [names["sign"], names["intermediate"], (x509.BasicConstraints(ca=False, path_length=None), True)],
    }


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "sign.key").write_text("precious")
    with pytest.raises(StateError, match=r"sign\.key"):
        write_demo_pki(str(tmp_path), NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["sign.key"]
    assert (tmp_path / "sign.key").read_text() == "precious"
