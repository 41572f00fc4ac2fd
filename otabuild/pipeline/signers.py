"""From the `sign` section of a recipe to a signer."""

from __future__ import annotations

from otabuild.errors import InputError
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.signing import CommandKey, EnvKey, EnvSecret, FdSecret, FileKey, Secret, Sign
from otabuild.signing.keys import (
    Passphrase,
    env_secret,
    load_key,
    passphrase_from_env,
    passphrase_from_fd,
    read_key_file,
)
from otabuild.signing.signer import CommandSigner, PemSigner, Signer


def make_signer(sign: Sign, workspace: Workspace) -> Signer | None:
    """The signer that a recipe names; None where the signature is made outside.

    Raises:
        InputError: the key is missing, wrong, or cannot be opened.
        StorageError: a file cannot be read.
    """
    key, passphrase = sign.key, _passphrase(sign.passphrase, workspace)
    if isinstance(key, FileKey):
        return PemSigner(read_key_file(key.file, passphrase, workspace.warn))
    if isinstance(key, EnvKey):
        pem = env_secret(key.env, workspace.environ, "private key")
        return PemSigner(load_key(pem.encode(), f"environment variable {key.env}", passphrase))
    if isinstance(key, CommandKey):
        return CommandSigner(key.command)
    if key == "external":
        return None
    raise InputError("keys in a PKCS#11 token are not there yet", where=key.pkcs11)


def _passphrase(secret: Secret | None, workspace: Workspace) -> Passphrase | None:
    if secret is None:
        return None
    if isinstance(secret, EnvSecret):
        return passphrase_from_env(secret.env, workspace.environ)
    if isinstance(secret, FdSecret):
        return passphrase_from_fd(secret.fd)
    return lambda: workspace.prompt("Passphrase of the signing key: ")
