"""The request for a certificate has what clients demand, and nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from otabuild.errors import InputError, StateError
from otabuild.signing.certificate_request import write_certificate_request


def test_a_request_asks_for_a_signer_on_p256(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    paths = write_certificate_request(str(folder), "CN=OTA release,O=Example")
    assert paths == [str(folder / "sign.key"), str(folder / "sign.csr")]
    assert (folder / "sign.key").stat().st_mode & 0o777 == 0o600
    key = load_pem_private_key((folder / "sign.key").read_bytes(), None)
    request = x509.load_pem_x509_csr((folder / "sign.csr").read_bytes())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert request.is_signature_valid
    assert request.public_key() == key.public_key()
    assert request.subject.rfc4514_string() == "CN=OTA release,O=Example"
    asked = {(type(one.value), one.critical): one.value for one in request.extensions}
    assert asked[x509.BasicConstraints, True] == x509.BasicConstraints(ca=False, path_length=None)
    assert asked[x509.ExtendedKeyUsage, False] == x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
    usage = asked[x509.KeyUsage, True]
    assert isinstance(usage, x509.KeyUsage)
    assert usage.digital_signature
    assert not usage.key_cert_sign


@pytest.mark.parametrize("present", ["sign.key", "sign.csr"])
def test_nothing_is_overwritten(tmp_path: Path, present: str) -> None:
    (tmp_path / present).write_bytes(b"kept")
    with pytest.raises(StateError, match="never overwritten"):
        write_certificate_request(str(tmp_path), "CN=x")
    assert [path.name for path in tmp_path.iterdir()] == [present]
    assert (tmp_path / present).read_bytes() == b"kept"


@pytest.mark.parametrize("subject", ["", "no name", "=x", "CN"])
def test_what_is_no_name_is_refused(tmp_path: Path, subject: str) -> None:
    with pytest.raises(InputError, match="not the name of a certificate"):
        write_certificate_request(str(tmp_path / "mine"), subject)
    assert not (tmp_path / "mine").exists()
