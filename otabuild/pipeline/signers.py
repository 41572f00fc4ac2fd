"""Makes a signer from the `sign` section of a recipe."""

from __future__ import annotations

from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.sign import CommandKey, EnvKey, EnvSecret, FdSecret, FileKey, Pkcs11Key, Sign, SigningKey
from otabuild.signing.hsm import Pkcs11Signer
from otabuild.signing.keys import (
    Passphrase,
    env_secret,
    load_key,
    passphrase_from_env,
    passphrase_from_fd,
    read_key_file,
)
from otabuild.signing.pem import unfolded
from otabuild.signing.signer import CommandSigner, PemSigner, Signer

PKCS11_MODULE = "PKCS11_MODULE_PATH"
"""Environment variable with the PKCS#11 module, used if the URI of a key does not name one."""


def make_signer(sign: Sign, workspace: Workspace) -> Signer | None:
    """Return the signer of a recipe, or None if the signature is made outside.

    Raises:
        InputError: the key is missing, wrong, or cannot be opened.
        StorageError: a file cannot be read.
    """
    key, passphrase = sign.key, _passphrase(sign, workspace)
    match key:
        case FileKey():
            return PemSigner(read_key_file(key.file, passphrase, workspace.warn))
        case EnvKey():
            pem = unfolded(env_secret(key.env, workspace.environ, "private key"))
            return PemSigner(load_key(pem, f"environment variable {key.env}", passphrase))
        case CommandKey():
            return CommandSigner(key.command)
        case Pkcs11Key():
            return Pkcs11Signer(key.pkcs11, passphrase, module=workspace.environ.get(PKCS11_MODULE))
        case "external":
            return None


def _passphrase(sign: Sign, workspace: Workspace) -> Passphrase | None:
    """Get the passphrase from its source once per run: a file descriptor can be read only once."""
    match sign.passphrase:
        case None:
            return None
        case EnvSecret(env=name):
            return passphrase_from_env(name, workspace.environ)
        case FdSecret(fd=fd):
            return _once(f"file descriptor {fd}", passphrase_from_fd(fd), workspace)
        case "prompt":
            where = _key_place(sign.key)
            return _once(where, lambda: workspace.prompt(f"Passphrase of {where}: "), workspace)


def _once(where: str, ask: Passphrase, workspace: Workspace) -> Passphrase:
    def remembered() -> bytes:
        if where not in workspace.secrets:
            workspace.secrets[where] = ask()
        return workspace.secrets[where]

    return remembered


def _key_place(key: SigningKey) -> str:
    """Describe the location of a key with a passphrase to the person who is asked for the passphrase."""
    match key:
        case FileKey():
            return key.file
        case EnvKey():
            return f"environment variable {key.env}"
        case Pkcs11Key():
            return key.pkcs11.partition("?")[0]
        case _:
            return "the signing key"
