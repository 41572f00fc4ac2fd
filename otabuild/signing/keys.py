"""Private keys: PEM, encrypted or not, on P-256. No message ever contains any part of a key."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from otabuild.errors import InputError
from otabuild.signing.certificates import FILE_LIMIT
from otabuild.signing.pem import not_a_key
from otabuild.storage.files import read_file
from otabuild.storage.fs import storage_error

Passphrase = Callable[[], bytes]
"""Return a passphrase or PIN when needed: from the environment, a file descriptor, or a prompt of
the shell."""


def passphrase_from_env(name: str, environ: Mapping[str, str]) -> Passphrase:
    """Return a passphrase source for an environment variable; InputError if it is not set."""
    return lambda: env_secret(name, environ, "passphrase")


def passphrase_from_fd(fd: int) -> Passphrase:
    """Return a source that reads a descriptor to its first line end.

    Without one to its end. It raises InputError if the descriptor is closed.
    """

    def read() -> bytes:
        try:
            with open(fd, "rb", closefd=False) as file:
                return file.readline(FILE_LIMIT).rstrip(b"\r\n")
        except OSError as error:
            raise InputError(
                "cannot read the passphrase",
                where=f"file descriptor {fd}",
                observed=error.strerror,
                hint=f"open it for the build, such as `doit build {fd}< FILE`",
            ) from None

    return read


def env_secret(name: str, environ: Mapping[str, str], what: str) -> bytes:
    """Return the value of an environment variable, byte for byte.

    Raises:
        InputError: it is not set, or empty.
    """
    secret = environ.get(name)
    if not secret:
        raise InputError(
            f"the environment variable for the {what} is not set",
            where=name,
            hint=f"export {name} first",
        )
    return os.fsencode(secret)


def read_key_file(
    path: str, passphrase: Passphrase | None, warn: Callable[[str], None]
) -> ec.EllipticCurvePrivateKey:
    """Load a key file; warn if group or others may read it.

    Raises:
        InputError: it has no P-256 private key, or the passphrase is missing or wrong.
        StorageError: the file cannot be read.
    """
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError as error:
        raise storage_error(error, "read", path) from None
    key = load_key(read_file(path, FILE_LIMIT), path, passphrase)
    if mode & 0o077:
        warn(
            f"{path}: the private key may be used by others on this machine (mode {mode:04o}); run "
            f"`chmod 600 {path}`"
        )
    return key


def load_key(
    pem: bytes, where: str, passphrase: Passphrase | None = None
) -> ec.EllipticCurvePrivateKey:
    """Load a private key.

    Args:
        pem: the key as PEM; text around its block is ignored.
        where: file or environment variable, for messages.
        passphrase: called only if the key is encrypted.

    Raises:
        InputError: not a private key, not on P-256, or the passphrase is missing or wrong.
    """
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:  # encrypted
        key = _load_encrypted(pem, where, passphrase)
    except (ValueError, UnsupportedAlgorithm):
        raise not_a_key(pem, where) from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise InputError(
        "the private key is not on the curve P-256",
        where=where,
        hint=(
            "make one with `openssl ecparam -name prime256v1 -genkey -noout` and have it certified"
        ),
    )


def _load_encrypted(pem: bytes, where: str, passphrase: Passphrase | None) -> PrivateKeyTypes:
    if passphrase is None:
        raise InputError(
            "the private key is encrypted, and no passphrase is given",
            where=where,
            hint="name one with `passphrase: {env: NAME}` under `sign`",
        )
    try:
        return load_pem_private_key(pem, passphrase())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InputError(
            "the passphrase does not open the private key",
            where=where,
            hint="check the passphrase, or the key file",
        ) from None
