"""Seals, which show that this user, and nobody else, wrote a record of the work directory.

A work directory may be restored from elsewhere, and what is in it may have been written by anybody.
What content can prove (a blob by its digest) needs no seal. What it cannot prove, and what bytes of
an image follow from, has a seal: a BLAKE2b MAC under a key that is not in the work directory. A
record without a valid seal is as good as none.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Mapping

import msgpack

from otabuild.errors import InputError, StateError
from otabuild.storage import fs
from otabuild.storage.files import write_file

CACHE_KEY = "OTABUILD_CACHE_KEY"
"""Environment variable with a secret, for machines that share a cache and believe each other's
records."""
SIZE = 16
"""Bytes of a seal."""
_SECRET = 32


class Seal:
    """Makes and checks seals under a key of any length."""

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.blake2b(key).digest()

    def of(self, kind: str, *parts: object) -> bytes:
        """Return the seal of a record: of its kind, and all that names it and that it says."""
        return hashlib.blake2b(
            msgpack.packb((kind, *parts)), key=self._key, digest_size=SIZE
        ).digest()

    def holds(self, seal: bytes, kind: str, *parts: object) -> bool:
        """Whether a seal is that of a record."""
        return hmac.compare_digest(seal, self.of(kind, *parts))


def user_key(environ: Mapping[str, str]) -> bytes:
    """Return the key of this user's records: OTABUILD_CACHE_KEY, or a file made at first use.

    Raises:
        InputError: the variable is too short to be a secret.
        StateError: others may have read or written the file.
        StorageError: the file cannot be made or read.
    """
    given = environ.get(CACHE_KEY)
    if given:
        if len(given) < _SECRET:
            expected = f"at least {_SECRET} characters"
            raise InputError(
                "not a secret",
                where=CACHE_KEY,
                expected=expected,
                hint="make one: openssl rand -hex 32",
            )
        return os.fsencode(given)
    state = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        state = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".local", "state")
    path = os.path.join(state, "otabuild", "cache.key")
    if not os.path.lexists(path):
        fs.makedirs(os.path.dirname(path))
        write_file(path, secrets.token_bytes(_SECRET), mode=0o600)
    return _read(path)


def _read(path: str) -> bytes:
    try:
        with open(
            path,
            "rb",
            opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK),
        ) as file:
            status = os.fstat(file.fileno())
            key = file.read(_SECRET + 1) if stat.S_ISREG(status.st_mode) else b""
    except OSError as error:
        raise fs.storage_error(error, "read", path) from None
    if status.st_uid != os.geteuid() or status.st_mode & 0o077 or len(key) != _SECRET:
        raise StateError(
            "not a key that only you know",
            where=path,
            observed=(
                f"{len(key)} bytes, mode {stat.S_IMODE(status.st_mode):04o}, owner {status.st_uid}"
            ),
            expected=f"{_SECRET} bytes, mode 0600, owner {os.geteuid()}",
            hint=(
                "remove it: a new one is made, and what is kept for later builds is made again once"
            ),
        )
    return key
