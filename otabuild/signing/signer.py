"""Who makes the signature: a key in PEM form, or a program of the user's.

A token of PKCS#11 is in `otabuild.signing.pkcs11`, the signature made outside the pipeline in
`otabuild.signing.external`.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from otabuild.errors import InputError
from otabuild.format.index_jwt import assemble, signing_input
from otabuild.format.legacy_jwt import assemble_legacy, legacy_certificate, legacy_signing_input
from otabuild.signing.answer import parse_answer
from otabuild.signing.certificates import Certificate


class Signer(Protocol):
    """Something that holds, or can reach, one P-256 private key."""

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey | None:
        """The public key, where it is known before signing."""

    def sign(self, digest: bytes) -> bytes:
        """Sign a digest.

        Args:
            digest: a SHA-256, 32 bytes.

        Returns:
            The ECDSA signature: r and s, big endian, 64 bytes. The caller verifies it.

        Raises:
            OtabuildError: the key cannot be reached or does not sign.
        """


def sign_index(index_json: bytes, issued_at: int, chain: Sequence[Certificate], signer: Signer) -> bytes:
    """Sign index.json.

    Args:
        index_json: index.json, byte for byte, with signed-at already in it.
        issued_at: `iat`, Unix seconds; the same as signed-at.
        chain: the signing certificate first; see `otabuild.signing.preflight`.
        signer: holds the key of the signing certificate.

    Returns:
        index.jwt, verified.

    Raises:
        TrustError: the signature does not verify with the signing certificate.
        OtabuildError: the signer failed.
    """
    signed = signing_input(index_json, issued_at, [certificate.x509 for certificate in chain])
    return assemble(signed, signer.sign(hashlib.sha256(signed).digest()))


def sign_legacy(chain: Sequence[Certificate], signer: Signer) -> tuple[bytes, bytes]:
    """Make the files for clients of the generation before; arguments and errors as for `sign_index`.

    Returns:
        The bytes of certificate.pem, and of metadata.jwt, verified.
    """
    certificate_pem = legacy_certificate(chain[0].x509)
    signed = legacy_signing_input(certificate_pem)
    return certificate_pem, assemble_legacy(signed, signer.sign(hashlib.sha256(signed).digest()), certificate_pem)


class PemSigner:
    """Signs with a key in memory, deterministically (RFC 6979): same input, same bytes."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public half of the key."""
        return self._key.public_key()

    def sign(self, digest: bytes) -> bytes:
        """See `Signer.sign`."""
        try:
            der = self._key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()), deterministic_signing=True))
        except UnsupportedAlgorithm:
            raise InputError(
                "the OpenSSL of this Python cannot make deterministic signatures",
                hint="install the cryptography package from PyPI, which brings its own OpenSSL, or one built with 3.2 or newer",
            ) from None
        return parse_answer(der, "the private key")


class CommandSigner:
    """Signs by running a program: digest (32 bytes) on stdin, signature on stdout in any form `parse_answer` reads.

    Args:
        argv: the program and its arguments; no shell is involved.
        timeout: seconds after which the program is killed.
    """

    def __init__(self, argv: Sequence[str], timeout: float = 300) -> None:
        self._argv = list(argv)
        self._timeout = timeout

    @property
    def public_key(self) -> None:
        """Not known: only the signature tells whose key it was."""

    def sign(self, digest: bytes) -> bytes:
        """See `Signer.sign`."""
        where = f"sign command `{self._argv[0]}`"
        try:
            code, answer, errors = self._run(digest)
        except OSError as error:
            raise InputError("cannot run the program", where=where, observed=error.strerror) from None
        except subprocess.TimeoutExpired as expired:
            raise InputError(
                f"no answer within {self._timeout:g} seconds", where=where, observed=_tail(expired.stderr)
            ) from None
        if code != 0:
            status = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise InputError("the program failed", where=where, observed=f"{status}: {_tail(errors)}")
        return parse_answer(answer, where)

    def _run(self, digest: bytes) -> tuple[int, bytes, bytes]:
        """Exit code, answer and what was said; where we are ended, nothing that the program started stays."""
        # Who has a terminal may be asked there for a PIN; a signal from there reaches all of it anyway.
        is_alone = not os.isatty(0)
        with subprocess.Popen(  # noqa: S603  # running the user's program is the purpose; no shell
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=is_alone,
        ) as process:
            try:
                answer, errors = process.communicate(digest, self._timeout)
            except BaseException:
                if is_alone:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                process.kill()
                raise
            return process.returncode, answer, errors


def _tail(stderr: bytes | None) -> str:
    """The last words of a program."""
    return (stderr or b"")[-500:].decode("utf-8", "replace").strip() or "nothing on stderr"
