"""DSSE envelopes: the bytes that are signed, and that no byte of an envelope can change."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otabuild.errors import FormatError, LimitError, OtabuildError, TrustError
from otabuild.format import dsse
from otabuild.format.dsse import Envelope, pre_authentication
from tests import pki

PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"}'


def envelope(payload: bytes = PAYLOAD) -> Envelope:
    signed = pki.raw_signature(pki.signer().ec_key, pre_authentication(payload))
    return Envelope(payload, (pki.signer().certificate, pki.intermediate().certificate), signed)


IN_TOTO = "application/vnd.in-toto+json"


@pytest.mark.parametrize(
    ("payload", "payload_type", "signed"),
    [
        (b"hello world", "http://example.com/HelloWorld", b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"),
        (PAYLOAD, IN_TOTO, b"DSSEv1 28 application/vnd.in-toto+json 43 " + PAYLOAD),
        (b"\xfb\xff\xbf>?", IN_TOTO, b"DSSEv1 28 application/vnd.in-toto+json 5 \xfb\xff\xbf>?"),
        (b"", IN_TOTO, b"DSSEv1 28 application/vnd.in-toto+json 0 "),
        (PAYLOAD, "application/vnd.ex\xe4mple+json", b"DSSEv1 29 application/vnd.ex\xc3\xa4mple+json 43 " + PAYLOAD),
        (PAYLOAD, "", b"DSSEv1 0  43 " + PAYLOAD),
    ],
)
def test_the_signed_bytes_are_those_of_the_published_vectors(payload: bytes, payload_type: str, signed: bytes) -> None:
    assert pre_authentication(payload, payload_type) == signed


def test_what_is_written_is_read() -> None:
    raw = envelope().to_json()
    assert Envelope.from_json(raw, "file") == envelope()
    Envelope.from_json(raw, "file").verify_signature("file")
    value = json.loads(raw)
    assert value["payloadType"] == "application/vnd.in-toto+json"
    spki = pki.signer().ec_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert value["signatures"][0]["keyid"] == hashlib.sha256(spki).hexdigest()


def test_openssl_verifies_it(tmp_path: Path) -> None:
    """An implementation that shares nothing with ours, on bytes that are put together here."""
    value = json.loads(envelope().to_json())
    payload = base64.b64decode(value["payload"])
    kind = value["payloadType"].encode()
    signed = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])
    (tmp_path / "signed").write_bytes(signed)
    (tmp_path / "signature").write_bytes(base64.b64decode(value["signatures"][0]["sig"]))
    der = base64.b64decode(value["signatures"][0]["x5c"][0])
    (tmp_path / "certificate.der").write_bytes(der)
    key = ["openssl", "x509", "-inform", "DER", "-in", "certificate.der", "-noout", "-pubkey"]
    (tmp_path / "key.pem").write_bytes(subprocess.check_output(key, cwd=tmp_path))
    check = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "signed"]
    assert subprocess.check_output(check, cwd=tmp_path) == b"Verified OK\n"


def test_a_change_of_any_byte_is_refused_unless_it_gives_other_certificates() -> None:
    """Those are what the policy judges; `signing/test_attestation.py` changes every byte of them, too."""
    raw = envelope().to_json()
    for at in range(len(raw)):
        for flip in (1, 0x20):
            other = bytearray(raw)
            other[at] ^= flip
            try:
                found = Envelope.from_json(bytes(other), "file")
                found.verify_signature("file")
            except OtabuildError:
                continue
            assert found.chain != envelope().chain


def changed(**parts: Any) -> bytes:
    value = json.loads(envelope().to_json())
    signature = value["signatures"][0]
    value |= {name: part for name, part in parts.items() if name in value}
    signature |= {name: part for name, part in parts.items() if name not in value}
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b"[]",
        envelope().to_json() + b"\n",
        envelope().to_json().replace(b",", b", ", 1),
        changed(signatures=[]),
        changed(signatures=json.loads(envelope().to_json())["signatures"] * 2),
        changed(payloadType="text/plain"),
        changed(payload="*"),
        changed(payload=7),
        changed(sig="AAAA"),
        changed(x5c=[]),
        changed(x5c="AAAA"),
        changed(x5c=["AAAA"]),
        changed(keyid="00"),
    ],
)
def test_what_is_not_an_envelope_is_refused(raw: bytes) -> None:
    with pytest.raises(FormatError):
        Envelope.from_json(raw, "file")


def test_a_signature_with_numbers_that_are_too_large_is_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    large = base64.b64encode(encode_dss_signature(1 << 300, 1)).decode()
    with pytest.raises(FormatError, match="not an attestation"):
        Envelope.from_json(changed(sig=large), "file")


def test_a_key_on_another_curve_is_refused() -> None:
    other = pki.issue("p384", pki.intermediate(), own_key=pki.key("p384", ec.SECP384R1))
    with pytest.raises(TrustError, match="P-256"):
        Envelope(PAYLOAD, (other.certificate,), bytes(64)).to_json()
    x5c = [base64.b64encode(other.der).decode()]
    with pytest.raises(TrustError, match="P-256"):
        Envelope.from_json(changed(x5c=x5c), "file")


def test_the_signature_of_another_key_or_text_is_refused() -> None:
    with pytest.raises(TrustError, match="does not verify"):
        Envelope(PAYLOAD + b" ", envelope().chain, envelope().signature).verify_signature("file")


def test_a_huge_envelope_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dsse, "LIMIT", 100)
    with pytest.raises(LimitError):
        Envelope.from_json(envelope().to_json(), "file")
