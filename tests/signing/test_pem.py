"""Files of the wrong kind: the message says what a file is, and its advice works on exactly that file."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs7,
    pkcs12,
)

from otabuild.errors import InputError
from otabuild.signing.certificates import read_certificates
from otabuild.signing.keys import load_key, read_key_file
from otabuild.signing.pem import unfolded
from tests import pki
from tests.signing import der

SIGNER = pki.signer()
PKCS8 = SIGNER.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
PUBLIC = SIGNER.ec_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
SMALL = ec.derive_private_key(7, ec.SECP256R1())
STORE = pkcs12.serialize_key_and_certificates(None, SIGNER.ec_key, SIGNER.certificate, None, NoEncryption())

NOT_CERTIFICATES: dict[str, tuple[bytes, str]] = {
    "trusted": (der.pem("TRUSTED CERTIFICATE", SIGNER.der), "OpenSSL's own form"),
    "trusted beside another": (SIGNER.pem + der.pem("TRUSTED CERTIFICATE", SIGNER.der), "OpenSSL's own form"),
    "pkcs7": (pkcs7.serialize_certificates([SIGNER.certificate], Encoding.PEM), "PKCS#7"),
    "pkcs7 in DER": (pkcs7.serialize_certificates([SIGNER.certificate], Encoding.DER), "PKCS#7"),
    "pkcs12": (STORE, "PKCS#12"),
    "DER": (SIGNER.der, "DER"),
    "key": (SIGNER.key_pem(), "a private key"),
    "encrypted key": (SIGNER.key_pem(b"secret"), "a private key"),
    "public key": (PUBLIC, "a public key"),
    "request": (der.pem("CERTIFICATE REQUEST", b"\x30\x00"), "a certificate request"),
    "another request": (der.pem("NEW CERTIFICATE REQUEST", b"\x30\x00"), "a certificate request"),
    "old key": (der.pem("EC PRIVATE KEY", PKCS8), "a private key"),
    "list": (der.pem("X509 CRL", b"\x30\x00"), "a revocation list"),
    "cms": (der.pem("CMS", b"\x30\x00"), "-----BEGIN CMS-----"),
    "UTF-16": (SIGNER.pem.decode().encode("utf-16"), "UTF-16"),
    "truncated": (SIGNER.pem[:300], "without its end"),
    "empty": (b"", "an empty file"),
}
NOT_KEYS: dict[str, tuple[bytes, str]] = {
    "short": (der.pem("EC PRIVATE KEY", der.sec1(SMALL, lambda number: number.lstrip(b"\0"))), "only OpenSSL reads"),
    "wrong label": (der.pem("EC PRIVATE KEY", PKCS8), "only OpenSSL reads"),
    "DER": (PKCS8, "DER"),
    "pkcs12": (STORE, "PKCS#12"),
    "pkcs7 in DER": (pkcs7.serialize_certificates([SIGNER.certificate], Encoding.DER), "PKCS#7"),
    "certificate": (SIGNER.pem, "a certificate"),
    "other certificate": (der.pem("X509 CERTIFICATE", SIGNER.der), "a certificate"),
    "public key": (PUBLIC, "a public key"),
    "openssh": (SIGNER.key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), "OpenSSH's own form"),
    "request": (der.pem("CERTIFICATE REQUEST", b"\x30\x00"), "-----BEGIN CERTIFICATE REQUEST-----"),
    "parameters": (der.pem("EC PARAMETERS", b"\x06\x00"), "-----BEGIN EC PARAMETERS-----"),
    "UTF-16": (SIGNER.key_pem().decode().encode("utf-16"), "UTF-16"),
    "truncated": (SIGNER.key_pem()[:100], "without its end"),
}


def followed(advice: str, file: Path) -> bytes | None:
    """Run the command of an advice on a file as a user would, and return what it wrote; None if it has no command."""
    command = re.search(r"`((openssl|ssh-keygen) [^`]+)`", advice)
    if command is None:
        return None
    if shutil.which(command[2]) is None:
        pytest.skip(f"needs {command[2]}")
    new = file.with_name("NEW.pem") if "NEW.pem" in command[1] else file
    extra = {"pkcs12": " -passin pass: -nodes", "-p": " -P '' -N ''"}.get(command[1].split()[1], "")
    file.chmod(0o600)
    subprocess.run(command[1].replace("NEW.pem", str(new)) + extra, shell=True, check=True, capture_output=True)
    return new.read_bytes()


@pytest.mark.parametrize("kind", NOT_CERTIFICATES)
def test_a_file_that_is_no_certificate_says_what_it_is(kind: str, tmp_path: Path) -> None:
    content, what = NOT_CERTIFICATES[kind]
    path = tmp_path / "a file.pem"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a file of PEM certificates") as caught:
        read_certificates(str(path))
    assert what in str(caught.value.observed)
    assert "chmod" not in caught.value.hint
    if (repaired := followed(caught.value.hint, path)) is not None:
        (tmp_path / "NEW.pem").write_bytes(repaired)
        assert read_certificates(str(tmp_path / "NEW.pem"))[0].x509 == SIGNER.certificate


@pytest.mark.parametrize("kind", NOT_KEYS)
def test_a_file_that_is_no_key_says_what_it_is(kind: str, tmp_path: Path) -> None:
    content, what = NOT_KEYS[kind]
    path, warnings = tmp_path / "a file.pem", list[str]()
    path.write_bytes(content)
    path.chmod(0o644)
    with pytest.raises(InputError, match="not a private key in PEM form") as caught:
        read_key_file(str(path), None, warnings.append)
    assert what in str(caught.value.observed)
    assert warnings == []  # who may read a certificate is nobody's business
    if (repaired := followed(caught.value.hint, path)) is not None:
        assert load_key(repaired, "NEW.pem").key_size == 256


def _joined(text: bytes) -> bytes:
    return text.replace(b"\n", b" ").strip()


@pytest.mark.parametrize(
    "mask",
    [
        bytes,
        base64.b64encode,
        base64.encodebytes,
        lambda text: text.replace(b"\n", b"\\n"),
        lambda text: text.replace(b"\n", b"\\r\\n"),
        lambda text: text.replace(b"\n", b"\r\n"),
        _joined,
    ],
    ids=["as it is", "base64", "base64 in lines", "literal line ends", "literal CRLF", "CRLF", "spaces"],
)
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_masked_variable_still_holds_the_key(mask: Callable[[bytes], bytes], form: PrivateFormat) -> None:
    text = SIGNER.key.private_bytes(Encoding.PEM, form, NoEncryption())
    assert load_key(unfolded(mask(text)), "K").private_numbers() == SIGNER.ec_key.private_numbers()


@pytest.mark.parametrize("text", [b"", b"secret", b"c2VjcmV0", b"-----BEGIN", b"\xff\\n"])
def test_what_is_no_pem_stays_what_it_is(text: bytes) -> None:
    assert unfolded(text) == text.replace(b"\\n", b"\n") if b"-----BEGIN" in text else unfolded(text) == text


@pytest.mark.parametrize("body", [b"AAA", b"A*==", b"====", "ä".encode()])
def test_a_block_that_is_no_base64_is_damaged(body: bytes, tmp_path: Path) -> None:
    path = tmp_path / "chain.pem"
    path.write_bytes(SIGNER.pem + b"-----BEGIN CERTIFICATE-----\n" + body + b"\n-----END CERTIFICATE-----\n")
    with pytest.raises(InputError, match=r"chain\.pem: a PEM block of this file is damaged: not base64"):
        read_certificates(str(path))


def test_the_advice_about_a_variable_names_no_file() -> None:
    with pytest.raises(InputError) as caught:
        load_key(STORE, "environment variable KEY")
    assert "-in FILE " in caught.value.hint


def test_a_variable_in_one_line_comes_back_as_it_was() -> None:
    body = b"-----BEGIN A B-----\n" + b"A" * 64 + b"\n" + b"B" * 10 + b"\n-----END A B-----\n"
    assert unfolded(_joined(body)) == body
