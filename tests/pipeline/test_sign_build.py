"""Complete builds with every kind of key, and with every mistake that stops them before any work."""

from __future__ import annotations

import os
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from otabuild.errors import InputError, OtabuildError, RecipeError, StorageError, TrustError
from otabuild.pipeline.signers import PKCS11_MODULE
from tests import pki
from tests.pipeline.signing_world import World, check
from tests.pki import DAY, NOW, intermediate, issue, root, signer
from tests.signing.mistakes import MISTAKES
from tests.softhsm import MODULE, PIN, needs_pkcs11_tool, needs_token

PEM = signer().key_pem().decode()


def refused(world: World) -> OtabuildError:
    """Build; it must stop in the preflight and write nothing but the marks of the work directory."""
    before = world.files()
    with pytest.raises(OtabuildError) as caught:
        world.build()
    assert world.files() == before
    assert world.built() == ["preflight"]
    return caught.value


# Keys.


def test_a_key_file(world: World) -> None:
    world.write()
    world.build()
    check(world.artifact)
    assert not world.warnings


def test_a_key_file_that_others_may_read_is_a_warning(world: World) -> None:
    world.write()
    (world.folder / "sign.key").chmod(0o644)
    world.build()
    assert "chmod 600 sign.key" in world.warnings[0]


def test_a_chain_of_which_nothing_shows_that_it_is_whole_is_a_warning(world: World) -> None:
    world.write(parties=(signer(),))
    recipe = world.folder / "v.yaml"
    recipe.write_text(recipe.read_text().replace("verify: {trust: [root.pem]}\n", ""))
    world.build()
    (warning,) = set(world.warnings)
    assert warning.startswith("0.pem: whether a root issued the signing certificate cannot be told")
    world.write()
    world.build()
    assert set(world.warnings) == {warning}


@pytest.mark.parametrize("key", ["{file: sign.key}", "{env: SIGN_KEY}"])
def test_encrypted_keys(world: World, key: str) -> None:
    encrypted = signer().key_pem(b"secret")
    for passphrase in ("{env: PASSPHRASE}", "prompt"):
        world.write(f"{key}\n  passphrase: {passphrase}")
        (world.folder / "sign.key").write_bytes(encrypted)
        world.environ = {"SIGN_KEY": encrypted.decode(), "PASSPHRASE": "secret"}
        world.build()
        check(world.artifact)
        world.forget()


def test_a_passphrase_is_asked_for_once_in_a_run(world: World) -> None:
    world.write("{file: sign.key}\n  passphrase: prompt")
    (world.folder / "sign.key").write_bytes(signer().key_pem(b"secret"))
    world.build()
    assert world.prompts == ["Passphrase of sign.key: "]


def test_a_passphrase_comes_through_a_file_descriptor(world: World) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"secret\n")
    os.close(writer)
    world.write(f"{{file: sign.key}}\n  passphrase: {{fd: {reader}}}")
    (world.folder / "sign.key").write_bytes(signer().key_pem(b"secret"))
    world.build()
    os.close(reader)
    check(world.artifact)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_program(world: World) -> None:
    world.write("{command: [openssl, pkeyutl, -sign, -inkey, sign.key]}")
    world.build()
    check(world.artifact)


@needs_token
@pytest.mark.usefixtures("softhsm")
@pytest.mark.parametrize("query", [f"?module-path={MODULE}", ""])
def test_a_token(world: World, query: str) -> None:
    world.write(f'{{pkcs11: "pkcs11:token=my%20token;object=sign{query}"}}\n  passphrase: {{env: PIN}}')
    world.environ = {"PIN": PIN, PKCS11_MODULE: str(MODULE)}
    world.build()
    check(world.artifact)


@needs_token
@pytest.mark.usefixtures("softhsm")
@needs_pkcs11_tool
def test_a_token_behind_a_program(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIN", PIN)
    argv = f"pkcs11-tool, --module, {MODULE}, --token-label, my token, --login, --pin, 'env:PIN', --id, '01'"
    argv += ", --sign, -m, ECDSA, --input-file, /dev/stdin, --output-file, /dev/stdout"
    world.write(f"{{command: [{argv}]}}")
    world.build()
    check(world.artifact)


# Mistakes.


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_stops_before_any_output(world: World, mistake: str) -> None:
    """S6, S8, S10, S13, S19."""
    parties, where, fact, remedy = MISTAKES[mistake]
    world.write(parties=tuple(parties()))
    error = refused(world)
    assert error.where.startswith("v.yaml:")
    assert error.where.endswith(f": {where}"), str(error)
    assert fact in error.what, str(error)
    assert remedy in error.hint, str(error)


def test_the_key_of_another_certificate(world: World) -> None:
    """S19."""
    world.write()
    (world.folder / "sign.key").write_bytes(issue("other").key_pem())
    error = refused(world)
    assert isinstance(error, TrustError)
    assert (error.where, "openssl" in error.hint) == ("v.yaml:9:16: sign.certificate: 0.pem", True)


@pytest.mark.parametrize(
    ("key", "where", "what"),
    [
        ("{file: sign.key}\n  passphrase: {env: WRONG}", "sign.key", "does not open the private key"),
        ("{file: sign.key}\n  passphrase: {env: UNSET}", "UNSET", "is not set"),
        ("{file: sign.key}\n  passphrase: {fd: 999}", "file descriptor 999", "cannot read the passphrase"),
        ("{file: sign.key}", "sign.key", "no passphrase is given"),
        ("{file: 0.pem}", "0.pem", "not a private key"),
        ("{file: p384.key}", "p384.key", "not on the curve P-256"),
        ("{env: UNSET}", "UNSET", "is not set"),
        ("{env: WRONG}", "environment variable WRONG", "not a private key"),
        ('{pkcs11: "pkcs11:token=a"}', "sign.key.pkcs11", "module-path"),
    ],
)
def test_keys_that_cannot_be_used(world: World, key: str, where: str, what: str) -> None:
    """S19."""
    world.write(key)
    (world.folder / "sign.key").write_bytes(signer().key_pem(b"secret"))
    (world.folder / "p384.key").write_bytes(pki.Party(signer().certificate, pki.key("p384", ec.SECP384R1)).key_pem())
    world.environ = {"WRONG": "wrong"}
    error = refused(world)
    assert isinstance(error, InputError)
    assert (what in error.what, bool(error.hint)) == (True, True), str(error)
    assert error.where in (f"v.yaml:11:8: sign.key: {where}", f"v.yaml:11:15: sign.key.file: {where}"), str(error)
    assert "wrong" not in str(error)


def test_a_file_that_is_not_there(world: World) -> None:
    world.write()
    (world.folder / "1.pem").unlink()
    error = refused(world)
    assert isinstance(error, RecipeError)
    assert "v.yaml:10:11: sign.chain[0]: no such file" in str(error)


@pytest.mark.parametrize(
    ("verify", "what", "remedy"),
    [
        (", crl: [revoked.crl, root.crl]", "revoked at", "different certificate"),
        (", crl: [stale.crl, root.crl]", "", ""),
        (", crl: [root.crl]", "", ""),
        (", allowed-signers: [somebody else]", "not signed by an allowed signer", "allowed signer"),
        (", eku: strict", "code signing", "extendedKeyUsage=codeSigning"),
    ],
)
def test_what_the_recipe_itself_would_not_trust(world: World, verify: str, what: str, remedy: str) -> None:
    """S8: revocation lists; allowed signers; extended key usage on request."""
    leaf = issue("signer", intermediate())
    world.write(verify=verify, parties=(leaf, intermediate()))
    for name, crl in (
        ("revoked", pki.crl(intermediate(), [leaf])),
        ("stale", pki.crl(intermediate(), this=NOW - 9 * DAY, until=NOW - DAY)),
        ("root", pki.crl(root())),
    ):
        (world.folder / f"{name}.crl").write_bytes(crl.public_bytes(Encoding.PEM))
    error = refused(world)
    assert isinstance(error, TrustError)
    assert error.where
    assert what in error.what
    assert remedy in error.hint
    assert error.hint


def test_what_the_preflight_depends_on_is_seen_again(world: World) -> None:
    world.write("{env: SIGN_KEY}")
    world.environ = {"SIGN_KEY": PEM}
    world.build()
    world.environ = {"SIGN_KEY": issue("other").key_pem().decode()}
    with pytest.raises(TrustError, match="does not belong"):
        world.build()
    assert world.built() == ["preflight"]
    world.environ = {"SIGN_KEY": PEM}
    (world.folder / "root.pem").write_bytes(issue("another root").pem)
    with pytest.raises(TrustError, match="trusted root"):
        world.build()


def test_a_root_that_joins_the_trust_folder_is_seen(world: World) -> None:
    world.write()
    (world.folder / "roots").mkdir()
    text = (world.folder / "v.yaml").read_text()
    (world.folder / "v.yaml").write_text(text.replace("trust: [root.pem]", "trust: [roots]"))
    pki.save(world.folder / "roots/other.pem", issue("another root"))
    assert "trusted root" in refused(world).what
    pki.save(world.folder / "roots/root.pem", root())
    world.build()
    (world.folder / "roots/root.pem").unlink()
    with pytest.raises(TrustError, match="trusted root"):
        world.build()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_trust_folder_that_cannot_be_read(world: World) -> None:
    world.write()
    (world.folder / "root.pem").unlink()
    (world.folder / "root.pem").mkdir(mode=0)
    with pytest.raises(StorageError, match="cannot read"):
        world.build()
