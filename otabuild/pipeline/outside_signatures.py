"""Signatures made outside of otabuild: what has to be signed, the answers, and known signatures.

A signature is identified by the digest that it signs. Therefore nothing has to record its image,
recipe or request: a request to sign the same bytes gets the signature, and no other request can.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.asymmetric import ec

from otabuild.errors import FormatError, StateError, TrustError
from otabuild.format import index_jwt, legacy_jwt
from otabuild.format.certificate import is_signed, signing_key
from otabuild.signing.answer import parse_answer
from otabuild.signing.certificates import Certificate
from otabuild.signing.signer import Signer
from otabuild.signing.signing_request import SigningRequest
from otabuild.storage import files

_TOKEN = re.compile(rb"[\w=-]+\.[\w=-]+\.[\w=-]+\n?")


def signing_requests(
    index_json: bytes, issued_at: int, chain: Sequence[Certificate], *, legacy: bool
) -> tuple[SigningRequest, ...]:
    """Return what has to be signed: index.jwt and, with legacy compatibility, metadata.jwt.

    Args:
        index_json: index.json, byte for byte, including signed-at.
        issued_at: `iat`, Unix seconds; the same as signed-at.
        chain: the signing certificate first.
        legacy: whether the image has files for legacy clients.
    """
    certificates = tuple(certificate.x509 for certificate in chain)
    signed = {index_jwt.NAME: index_jwt.signing_input(index_json, issued_at, certificates)}
    if legacy:
        signed[legacy_jwt.NAME] = legacy_jwt.legacy_signing_input(
            legacy_jwt.legacy_certificate(certificates[0])
        )
    return tuple(
        SigningRequest(name, signing_input, certificates) for name, signing_input in signed.items()
    )


def match_answer(
    answer: bytes, requests: Sequence[SigningRequest], where: str
) -> tuple[SigningRequest, bytes]:
    """Find the request that an answer signs.

    Args:
        answer: a signature in any form that `parse_answer` reads, or a whole token.
        requests: the possible requests.
        where: the file of the answer, for messages.

    Returns:
        The request, and the signature: r and s, 64 bytes, verified with its certificate.

    Raises:
        FormatError: the answer has no signature.
        TrustError: it does not sign any of the requests with the key of the certificate.
    """
    # A token begins with just the bytes that were to be signed, so it can be for one request only.
    for request in requests:
        if answer.startswith(request.signing_input + b"."):
            signature = _token_signature(answer, where)
            if is_signature(signature, request):
                return request, signature
    if _TOKEN.fullmatch(answer):
        raise TrustError(
            "the token is for something else: a different index.json, time or certificate",
            where=where,
            expected=" or ".join(
                f"{request.name} over sha256:{request.digest.hex()}" for request in requests
            ),
            hint=(
                "build exactly the image that was signed: same inputs, same timestamp, same "
                "versions (`otabuild version`)"
            ),
        )
    signature = parse_answer(answer, where)
    for request in requests:
        if is_signature(signature, request):
            return request, signature
    raise TrustError(
        "the answer is not a signature of the requested digest with the key of the certificate",
        where=where,
        observed=f"certificate {requests[0].chain[0].subject.rfc4514_string()}",
        expected=" or ".join(
            f"a signature of sha256:{request.digest.hex()}" for request in requests
        ),
        hint="the digest itself is signed (MessageType DIGEST), not a hash of it; if the build "
        "changed since, or its `timestamp` is `now`, write the request again with "
        "`otabuild sign-prepare`",
    )


def is_signature(signature: bytes, request: SigningRequest) -> bool:
    """Whether 64 bytes (r and s) are a signature of a request with the key of its certificate."""
    return is_signed(signing_key(request.chain[0]), request.digest, signature)


def _token_signature(token: bytes, where: str) -> bytes:
    """Return the signature of index.jwt (raw) or metadata.jwt (DER)."""
    part = token.rpartition(b".")[2].rstrip(b"\n")
    try:
        raw = base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise FormatError("the signature of the token is not base64url", where=where) from None
    return parse_answer(raw, where)


class KnownSignatures:
    """Known signatures of one key, in files named by the digest that is signed. None is secret."""

    def __init__(self, folder: str, key: ec.EllipticCurvePublicKey) -> None:
        self._folder, self._key = folder, key

    def has_any(self) -> bool:
        """Whether a signature was ever kept here."""
        return os.path.isdir(self._folder)

    def find(self, digest: bytes) -> bytes | None:
        """Return the valid signature of a digest (32 bytes), if known: r and s, 64 bytes."""
        path = self._path(digest)
        signature = files.read_file(path) if os.path.isfile(path) else b""
        return signature if is_signed(self._key, digest, signature) else None

    def keep(self, digest: bytes, signature: bytes) -> None:
        """Store the signature of a digest."""
        files.write_file(self._path(digest), signature, durable=True)

    def _path(self, digest: bytes) -> str:
        return os.path.join(self._folder, digest.hex())


class ReusingSigner:
    """Returns known signatures, and asks another signer for the others.

    Args:
        find: returns the known signature of a digest, or None.
        signer: makes the others; None if they are made outside.
        target: the recipe or image to sign, for messages.
    """

    def __init__(
        self, find: Callable[[bytes], bytes | None], signer: Signer | None, target: str
    ) -> None:
        self._find, self._signer, self._target = find, signer, target

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey | None:
        """The public key of the other signer."""
        return self._signer.public_key if self._signer else None

    def sign(self, digest: bytes) -> bytes:
        """See `Signer.sign`.

        Raises:
            StateError: the signature is made outside and does not exist yet.
        """
        known = self._find(digest)
        if known is not None:
            return known
        if self._signer is None:
            raise StateError(
                "waiting for an external signature",
                where=f"sha256:{digest.hex()}",
                hint=f"write the request with `otabuild sign-prepare {self._target}`, have it "
                f"signed, and give the answer to `otabuild sign-finish {self._target}`",
            )
        return self._signer.sign(digest)
