"""Makes signatures with a key in PEM form or with a program of the user.

For a PKCS#11 token see `otabuild.signing.hsm`, for signatures made outside the pipeline see
`otabuild.signing.signing_request`.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from otabuild.errors import InputError, TrustError
from otabuild.format.index_jwt import assemble, signing_input
from otabuild.format.legacy_jwt import assemble_legacy, legacy_certificate, legacy_signing_input
from otabuild.signing.answer import parse_answer
from otabuild.signing.certificates import Certificate


class Signer(Protocol):
    """Has, or can reach, one P-256 private key."""

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey | None:
        """The public key, if known before signing."""

    def sign(self, digest: bytes) -> bytes:
        """Sign a digest.

        Args:
            digest: a SHA-256, 32 bytes.

        Returns:
            The ECDSA signature: r and s, big endian, 64 bytes. The caller verifies it.

        Raises:
            OtabuildError: the key cannot be reached or does not sign.
        """


def sign_index(
    index_json: bytes, issued_at: int, chain: Sequence[Certificate], signer: Signer
) -> bytes:
    """Sign index.json.

    Args:
        index_json: index.json, byte for byte, including signed-at.
        issued_at: `iat`, Unix seconds; the same as signed-at.
        chain: the signing certificate first; see `otabuild.signing.preflight`.
        signer: has the key of the signing certificate.

    Returns:
        index.jwt, verified.

    Raises:
        TrustError: the signature does not verify with the signing certificate.
        OtabuildError: the signer failed.
    """
    signed = signing_input(index_json, issued_at, [certificate.x509 for certificate in chain])
    with its_own_key(chain[0]):
        return assemble(signed, signer.sign(hashlib.sha256(signed).digest()))


def sign_legacy(chain: Sequence[Certificate], signer: Signer) -> tuple[bytes, bytes]:
    """Make files for the previous generation of clients; arguments, errors as `sign_index`.

    Returns:
        The bytes of certificate.pem, and the verified bytes of metadata.jwt.
    """
    certificate_pem = legacy_certificate(chain[0].x509)
    signed = legacy_signing_input(certificate_pem)
    with its_own_key(chain[0]):
        return certificate_pem, assemble_legacy(
            signed, signer.sign(hashlib.sha256(signed).digest()), certificate_pem
        )


@contextmanager
def its_own_key(certificate: Certificate) -> Iterator[None]:
    """Say what a fresh signature that does not verify means: the key is another certificate's."""
    try:
        yield
    except TrustError as error:
        raise TrustError(
            "what `key` names signs with another key than that of the certificate",
            where=certificate.where,
            observed=error.what,
            expected=f"the key of {certificate.subject}",
            hint=(
                "`openssl x509 -in CERTIFICATE -noout -pubkey` prints the public key that the "
                "signer must have"
            ),
        ) from None


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
            der = self._key.sign(
                digest, ec.ECDSA(Prehashed(hashes.SHA256()), deterministic_signing=True)
            )
        except UnsupportedAlgorithm:
            raise InputError(
                "the OpenSSL of this Python cannot make deterministic signatures",
                hint=(
                    "install the cryptography package from PyPI, which brings its own OpenSSL, or "
                    "one built with 3.2 or newer"
                ),
            ) from None
        return parse_answer(der, "the private key")


class CommandSigner:
    """Signs by a program: digest (32 bytes) on stdin, any form of `parse_answer` on stdout.

    Args:
        argv: the program and its arguments; no shell is involved.
        timeout: seconds after which the program is killed.
    """

    def __init__(self, argv: Sequence[str], timeout: float = 300) -> None:
        self._argv = list(argv)
        self._timeout = timeout

    @property
    def public_key(self) -> None:
        """None, because only the signature shows which key it was."""

    def sign(self, digest: bytes) -> bytes:
        """See `Signer.sign`."""
        where = f"sign command `{self._argv[0]}`"
        try:
            code, answer, errors = self._run(digest)
        except OSError as error:
            raise InputError(
                "cannot run the program", where=where, observed=error.strerror
            ) from None
        except subprocess.TimeoutExpired as expired:
            raise InputError(
                f"no answer within {self._timeout:g} seconds",
                where=where,
                observed=_tail(expired.stderr),
            ) from None
        if code != 0:
            status = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise InputError(
                "the program failed", where=where, observed=f"{status}: {_tail(errors)}"
            )
        return parse_answer(answer, where)

    def _run(self, digest: bytes) -> tuple[int, bytes, bytes]:
        """Return exit code, answer and stderr.

        If this process ends, everything that the program started ends, too.
        """
        # With a terminal, the program may ask for a PIN there; signals from the terminal reach all
        # of it anyway.
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
    """Return the end of the stderr of a program."""
    return (stderr or b"")[-500:].decode("utf-8", "replace").strip() or "nothing on stderr"
