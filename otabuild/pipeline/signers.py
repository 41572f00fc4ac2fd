"""Makes a signer from the `sign` section of a recipe."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from otabuild.pipeline.settings import input_hashes
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.model import Recipe
from otabuild.recipe.sign import (
    CommandKey,
    EnvKey,
    EnvSecret,
    FdSecret,
    FileKey,
    Pkcs11Key,
    ServiceKey,
    Sign,
)
from otabuild.signing.hsm import Pkcs11Signer
from otabuild.signing.key_services import KeyServiceSigner
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


@dataclass(frozen=True)
class _KeyKind:
    """What a build does with one kind of key; `recipe/sign` has the model, the other half.

    Attributes:
        make: returns the signer of a key.
        state: returns what shows that the key is unchanged, without revealing it; None if only
            signing shows it.
        place: says where the key is, to the person who is asked for its passphrase.
        repeats: whether it signs the same bytes in the same way each time, without asking anybody
            (RFC 6979).
    """

    make: Callable[[Any, Passphrase | None, Workspace], Signer]
    state: Callable[[Any, Workspace], object] = lambda _key, _workspace: None
    place: Callable[[Any], str] = lambda _key: "the signing key"
    repeats: bool = False


def _file(key: FileKey, passphrase: Passphrase | None, workspace: Workspace) -> Signer:
    return PemSigner(read_key_file(key.file, passphrase, workspace.warn))


def _variable(key: EnvKey, passphrase: Passphrase | None, workspace: Workspace) -> Signer:
    pem = unfolded(env_secret(key.env, workspace.environ, "private key"))
    return PemSigner(load_key(pem, f"environment variable {key.env}", passphrase))


def _variable_state(key: EnvKey, workspace: Workspace) -> str:
    return hashlib.sha256(os.fsencode(workspace.environ.get(key.env, ""))).hexdigest()


def _token(key: Pkcs11Key, passphrase: Passphrase | None, workspace: Workspace) -> Signer:
    return Pkcs11Signer(key.pkcs11, passphrase, module=workspace.environ.get(PKCS11_MODULE))


_KINDS: Mapping[type, _KeyKind] = {
    FileKey: _KeyKind(
        _file, lambda key, _: input_hashes([key.file]), lambda key: str(key.file), repeats=True
    ),
    EnvKey: _KeyKind(
        _variable, _variable_state, lambda key: f"environment variable {key.env}", repeats=True
    ),
    CommandKey: _KeyKind(lambda key, _passphrase, _workspace: CommandSigner(key.command)),
    ServiceKey: _KeyKind(lambda key, _passphrase, _workspace: KeyServiceSigner(key)),
    Pkcs11Key: _KeyKind(_token, place=lambda key: str(key.pkcs11.partition("?")[0])),
}
"""Every kind of key but `external`, whose signatures are made outside."""


def make_signer(sign: Sign, workspace: Workspace) -> Signer | None:
    """Return the signer of a recipe, or None if the signature is made outside.

    Raises:
        InputError: the key is missing, wrong, or cannot be opened.
        StorageError: a file cannot be read.
    """
    kind = _KINDS.get(type(sign.key))
    return None if kind is None else kind.make(sign.key, _passphrase(sign, workspace), workspace)


def key_state(sign: Sign, workspace: Workspace) -> object:
    """Return what shows that the key of a recipe is unchanged.

    Of the key that is a digest, of a passphrase nothing.
    """
    kind = _KINDS.get(type(sign.key))
    return None if kind is None else kind.state(sign.key, workspace)


def signs_alike(sign: Sign) -> bool:
    """Whether the signer of a recipe makes the same signature each time without asking anybody."""
    kind = _KINDS.get(type(sign.key))
    return kind is not None and kind.repeats and isinstance(sign.passphrase, EnvSecret | None)


def signed_outside(recipe: Recipe) -> bool:
    """Whether the signatures of a recipe are made outside, in two steps."""
    return recipe.sign is not None and recipe.sign.key == "external"


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
            where = _KINDS[type(sign.key)].place(sign.key)
            return _once(where, lambda: workspace.prompt(f"Passphrase of {where}: "), workspace)


def _once(where: str, ask: Passphrase, workspace: Workspace) -> Passphrase:
    def remembered() -> bytes:
        if where not in workspace.secrets:
            workspace.secrets[where] = ask()
        return workspace.secrets[where]

    return remembered
