"""Signs an existing image: again, for the first time, or with a signature that was made before.

A signature vouches for the image, so `check_image` comes first: only what verification accepts is
signed. Only signed-at changes in index.json, as text; every other file is copied unchanged and
hashed on the way. An artifact is replaced by one rename and a directory by one exchange, so no
unfinished signing is ever visible.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from otabuild.errors import (
    FormatError,
    IntegrityError,
    LimitError,
    NotVerifiedError,
    OtabuildError,
    StateError,
    TrustError,
)
from otabuild.format import annotations as ann
from otabuild.format import index_jwt, legacy_jwt, limits
from otabuild.format.document import parse_json
from otabuild.format.index_jwt import parse_index_jwt
from otabuild.image.image import Image
from otabuild.image.members import members_of
from otabuild.image.otaclient_package import check_legacy_folder, legacy_files, read_package
from otabuild.pipeline.outside_signatures import ReusingSigner, match_answer, signing_requests
from otabuild.signing.certificates import Certificate
from otabuild.signing.signer import Signer, sign_index, sign_legacy
from otabuild.signing.signing_request import SigningRequest
from otabuild.storage.member import DamagedBlobError, Member, document
from otabuild.storage.sink import ArtifactSink, DirectorySink
from otabuild.tally import Progress, Tally
from otabuild.verification.verify import verify

_ABOUT_SIGNATURES = frozenset({"index.signed-at", "legacy"})
"""Rules of verify about what signing replaces: a signing that another tool left unfinished is
repaired."""
_UNCHECKED = (
    "a signature would vouch for it: build or copy the image again; --unchecked signs what another "
    "tool made all the same"
)
_SIGNATURE = ("index.json", index_jwt.NAME, legacy_jwt.NAME, legacy_jwt.CERTIFICATE_NAME)


@dataclass(frozen=True, slots=True)
class Signing:
    """How to sign an image.

    Attributes:
        chain: the signing certificate first, checked by `preflight`.
        issued_at: signed-at and `iat`, Unix seconds.
        signer: has the key; None if all signatures are among the answers.
        answers: existing signatures or tokens, each with its file.
    """

    chain: tuple[Certificate, ...]
    issued_at: int
    signer: Signer | None = None
    answers: tuple[tuple[bytes, str], ...] = ()


def index_signed_at(index_json: bytes, signed_at: int) -> bytes:
    """Set or replace signed-at (Unix seconds) in index.json; no other byte of it changes.

    Raises:
        FormatError: signed-at, or created-at before it, is not in plain letters in the file,
            exactly once.
    """
    number = re.compile(rb'("%s"\s*:\s*)[0-9]+' % re.escape(ann.SIGNED_AT.encode()))
    text, count = number.subn(rb"\g<1>%d" % signed_at, index_json)
    if count == 0:
        created = re.compile(rb'("%s"\s*:\s*[0-9]+)' % re.escape(ann.CREATED_AT.encode()))
        text, count = created.subn(
            rb'\g<1>,"%s":%d' % (ann.SIGNED_AT.encode(), signed_at), index_json
        )
    value = parse_json(index_json, "index.json", limits.INDEX)
    value["annotations"][ann.SIGNED_AT] = signed_at
    if count != 1 or parse_json(text, "index.json", limits.INDEX) != value:
        raise FormatError(
            f"cannot set {ann.SIGNED_AT} without rewriting the rest", where="index.json"
        )
    return text


def check_state(image: Image) -> str | None:
    """Check whether the image may be signed in its current state.

    Returns:
        What an interrupted signing left behind, in words, or None.

    Raises:
        StateError: the image is not finalized.
        IntegrityError: index.json was changed after it was signed.
    """
    if image.index.created_at is None:
        raise StateError(
            "not finalized: something may still be added to this image", where=image.path
        )
    if image.token_raw is None:
        was_begun = image.index.signed_at is not None
        return "index.json was to be signed, but index.jwt is missing" if was_begun else None
    try:
        token = parse_index_jwt(image.token_raw, compat=True)
    except (FormatError, LimitError, TrustError):
        return "index.jwt cannot be read"
    if hashlib.sha256(image.index_raw).digest() == token.image_index.digest:
        return None
    if token.issued_at is not None:
        meant = index_signed_at(image.index_raw, token.issued_at)
        if hashlib.sha256(meant).digest() == token.image_index.digest:
            return "index.json and index.jwt are of two signings of the same image"
    raise IntegrityError(
        "index.json was changed after it was signed",
        where=image.path,
        observed=f"sha256:{hashlib.sha256(image.index_raw).hexdigest()}",
        expected=token.image_index.digest_text,
        hint=(
            "find out who changed it, or build the image again; a signature would "
            "vouch for the change"
        ),
    )


def check_image(image: Image, *, unchecked: bool, progress: Progress | None = None) -> list[str]:
    """Check that the image may be signed: `otabuild verify --shallow` accepts all the rest of it.

    Args:
        image: an open image.
        unchecked: check no more than `check_state`, for an image of another tool that verification
            does not accept.
        progress: called with the bytes hashed.

    Returns:
        Warnings.

    Raises:
        NotVerifiedError: the image is not valid.
        IntegrityError, StateError: as `check_state`; or files for legacy clients are damaged.
    """
    state = check_state(image)
    warnings = [] if state is None else [f"{image.path}: {state}; it is signed again"]
    if unchecked:
        warning = "the signature vouches for an image that may not be valid"
        return [*warnings, f"{image.path}: signed unchecked: {warning}"]
    report = verify(image, None, 0, shallow=True, without_signature=True, progress=progress)
    found = [
        one
        for one in report.findings
        if one.severity == "error" and one.rule not in _ABOUT_SIGNATURES
    ]
    if found:
        raise NotVerifiedError(image.path, found, hint=_UNCHECKED)
    _check_legacy_files(image)
    return warnings


def _check_legacy_files(image: Image) -> None:
    package = image.index.otaclient_package
    check_legacy_folder(image, None if package is None else read_package(image, package))


def image_requests(
    image: Image, issued_at: int, chain: Sequence[Certificate]
) -> tuple[SigningRequest, ...]:
    """Return what has to be signed for an image signed at a time (Unix seconds).

    See `signing_requests`.
    """
    legacy = any(legacy_files(image, None))
    return signing_requests(
        index_signed_at(image.index_raw, issued_at), issued_at, chain, legacy=legacy
    )


def resign(
    image: Image,
    output: str,
    signing: Signing,
    *,
    workers: int,
    progress: Progress | None = None,
) -> None:
    """Write the image with a new signature in its form: an artifact or a directory.

    Args:
        image: an open image, checked by `check_image`.
        output: the artifact or directory to write; may be the image itself.
        signing: the certificates, the time, and where signatures come from.
        workers: number of threads for copying.
        progress: called with the bytes copied.

    Raises:
        TrustError, FormatError: an answer is not a signature of this image with this certificate.
        IntegrityError: a file of the image is damaged or missing, or does not belong in it.
        OtabuildError: the signer or writing failed; the previous `output` still exists.
    """
    chain, issued_at = signing.chain, signing.issued_at
    requests = image_requests(image, issued_at, chain)
    known = _known(image, requests)
    for answer, where in signing.answers:
        request, signature = match_answer(answer, requests, where)
        known[request.digest] = signature
    reusing = ReusingSigner(known.get, signing.signer, image.path)
    index = index_signed_at(image.index_raw, issued_at)
    tokens = {"index.json": index, index_jwt.NAME: sign_index(index, issued_at, chain, reusing)}
    if len(requests) > 1:  # the second is that for legacy clients
        _check_legacy_files(image)
        tokens[legacy_jwt.CERTIFICATE_NAME], tokens[legacy_jwt.NAME] = sign_legacy(chain, reusing)
    copied = members_of(image, without=_SIGNATURE)
    _check_blobs(image, copied)
    contents = [document(name, token) for name, token in tokens.items()] + copied
    tally = Tally(sum(member.size for member in contents), progress)
    sink = ArtifactSink(output) if image.source.is_artifact else DirectorySink(output)
    try:
        sink.write(contents, workers=workers, progress=tally.add)
    except DamagedBlobError as damaged:
        raise IntegrityError(
            "a file of the image is damaged", where=image.path, observed=damaged.where
        ) from None


def _known(image: Image, requests: Sequence[SigningRequest]) -> dict[bytes, bytes]:
    """Return the signature for legacy clients, valid as long as the certificate is the same."""
    token = image.read_file(legacy_jwt.NAME, limits.JWT)
    try:
        request, signature = match_answer(token or b"", requests, legacy_jwt.NAME)
    except OtabuildError:
        return {}
    return {request.digest: signature}


def _check_blobs(image: Image, copied: Sequence[Member]) -> None:
    """Refuse to sign an image without all its blobs: index.json has their number and size."""
    sizes = [member.size for member in copied if member.name.startswith("blobs/sha256/")]
    annotations = image.index.annotations or {}
    for key, number in ((ann.BLOBS_COUNT, len(sizes)), (ann.BLOBS_SIZE, sum(sizes))):
        if annotations.get(key, number) != number:
            raise IntegrityError(
                f"the blobs do not match the {key} of index.json",
                where=image.path,
                observed=number,
                expected=annotations[key],
                hint="`otabuild verify` shows which is missing; build or copy the image again",
            )
