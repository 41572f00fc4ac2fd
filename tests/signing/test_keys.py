"""Loading keys: every mistake has a message that names the file and does not reveal the secret (threats S19, S21)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from otabuild.errors import InputError, StorageError
from otabuild.signing.keys import env_secret, load_key, passphrase_from_env, passphrase_from_fd, read_key_file
from tests import pki

KEY = pki.signer().ec_key
PEM = pki.signer().key_pem()
ENCRYPTED = pki.signer().key_pem(b"open sesame")
TRADITIONAL = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def number(key: ec.EllipticCurvePrivateKey) -> int:
    return key.private_numbers().private_value


@pytest.mark.parametrize("pem", [PEM, TRADITIONAL, PEM.replace(b"\n", b"\r\n"), b"some text\n" + PEM])
def test_plain_keys(pem: bytes) -> None:
    assert number(load_key(pem, "sign.key")) == number(KEY)


def test_a_key_with_its_parameters_as_openssl_writes_it() -> None:
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert number(load_key(parameters + TRADITIONAL, "sign.key")) == number(KEY)


def test_encrypted_keys() -> None:
    environ = {"PASS": "open sesame"}
    assert number(load_key(ENCRYPTED, "sign.key", passphrase_from_env("PASS", environ))) == number(KEY)
    read, write = os.pipe()
    os.write(write, b"open sesame\n")
    os.close(write)
    assert number(load_key(ENCRYPTED, "sign.key", passphrase_from_fd(read))) == number(KEY)
    os.close(read)
    with pytest.raises(InputError, match="file descriptor"):
        load_key(ENCRYPTED, "sign.key", passphrase_from_fd(read))


def test_the_passphrase_is_asked_only_when_needed() -> None:
    assert number(load_key(PEM, "sign.key", passphrase_from_env("UNSET", {}))) == number(KEY)
    with pytest.raises(InputError, match="UNSET"):
        load_key(ENCRYPTED, "sign.key", passphrase_from_env("UNSET", {}))


def other(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("pem", "text"),
    [
        (ENCRYPTED, "encrypted, and no passphrase"),
        (b"", "not a private key"),
        (b"text", "not a private key"),
        (PEM[:100], "not a private key"),
        (PEM.replace(b"M", b"N"), "not a private key"),
        (pki.signer().pem, "not a private key"),
        (KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "not a private key"),
        (KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), "not a private key"),
        (other(pki.key("x", ec.SECP384R1)), "P-256"),
        (other(pki.key("x", ec.SECP256K1)), "P-256"),
        (other(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))), "P-256"),
        (other(rsa.generate_private_key(65537, 2048)), "P-256"),
    ],
)
def test_other_keys(pem: bytes, text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        load_key(pem, "sign.key")
    assert caught.value.where == "sign.key"
    said = repr((caught.value, vars(caught.value), caught.value.__cause__)).encode()
    assert not [form for form in pki.secrets(KEY) if form in said]


@pytest.mark.parametrize("wrong", [b"wrong", b"", b"open sesame\n", b"x" * 2000])
def test_a_wrong_passphrase(wrong: bytes) -> None:
    with pytest.raises(InputError, match="does not open") as caught:
        load_key(ENCRYPTED, "sign.key", lambda: wrong)
    assert "sesame" not in repr(vars(caught.value))


def test_what_is_no_text_in_the_environment() -> None:
    assert passphrase_from_env("PASS", {"PASS": os.fsdecode(b"\xff")})() == b"\xff"
    with pytest.raises(InputError, match="not a private key"):
        load_key(env_secret("KEY", {"KEY": os.fsdecode(b"\xff")}, "key"), "KEY")


def test_a_key_in_the_environment() -> None:
    assert number(load_key(env_secret("KEY", {"KEY": PEM.decode()}, "key"), "KEY")) == number(KEY)
    for environ in ({}, {"KEY": ""}):
        with pytest.raises(InputError, match="export KEY"):
            env_secret("KEY", environ, "key")


@pytest.mark.parametrize(
    ("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True), (0o620, True)]
)
def test_a_key_file_that_others_may_use_is_a_warning(tmp_path: Path, mode: int, *, warned: bool) -> None:
    path = tmp_path / "sign.key"
    path.write_bytes(PEM)
    path.chmod(mode)
    warnings: list[str] = []
    assert number(read_key_file(str(path), None, warnings.append)) == number(KEY)
    assert bool(warnings) == warned
    assert all("chmod 600" in warning for warning in warnings)


def test_a_key_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"sign\.key"):
        read_key_file(str(tmp_path / "sign.key"), None, print)
    with pytest.raises(StorageError):
        read_key_file(str(tmp_path), None, print)
