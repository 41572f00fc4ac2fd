"""What is published, checked first: what vehicles would refuse must not be offered to them."""

from __future__ import annotations

from collections.abc import Collection

from otabuild.errors import Finding, NotVerifiedError, OtabuildError, StateError
from otabuild.format import annotations as ann
from otabuild.image.image import Image
from otabuild.image.members import members_of
from otabuild.releases.publish import ReleaseContents
from otabuild.signing.authenticity import check_index_jwt
from otabuild.tally import Progress
from otabuild.verification.verify import verify


def checked_contents(
    image: Image,
    now: int,
    *,
    unsigned: bool = False,
    proven: Collection[bytes] = (),
    progress: Progress | None = None,
) -> ReleaseContents:
    """Return what a release of this image consists of; `otabuild verify --shallow` accepts it.

    That a certificate is one which vehicles trust is not checked here: whoever publishes need not
    know their anchors.

    Args:
        image: an open image.
        now: Unix seconds, for the validity of certificates.
        unsigned: also take an image that is not signed.
        proven: digests of blobs that are right without being read; see `verify`.
        progress: called with the bytes hashed.

    Raises:
        StateError: it is not signed.
        NotVerifiedError: it is not valid, or its signature is not.
        IntegrityError: a file does not belong in an image.
    """
    if image.token_raw is None and not unsigned:
        raise StateError(
            "the image is not signed, and vehicles would refuse it",
            where=image.path,
            hint="sign it first, or publish it as it is with --unsigned",
        )
    report = verify(
        image, None, now, shallow=True, without_signature=True, proven=proven, progress=progress
    )
    found = [finding for finding in report.findings if finding.severity == "error"]
    found = signature_findings(image, now) + found
    if found:
        raise NotVerifiedError(
            image.path, found, hint="only what verification accepts is published"
        )
    return ReleaseContents.of(members_of(image))


def signature_findings(image: Image, now: int) -> list[Finding]:
    """Return what is wrong with an image's signature, whoever made it; nothing without one.

    `now` is in Unix seconds.
    """
    if image.token_raw is None:
        return []
    _, problems = check_index_jwt(image.token_raw, image.index_raw, None, now)
    return [Finding.of_error("signature", problem) for problem in problems]


def default_name(image: Image) -> str | None:
    """Return the version that index.json tells, or None."""
    try:
        version = (image.index.annotations or {}).get(ann.PROJECT_VERSION)
    except OtabuildError:
        return None
    return None if version is None else str(version)
