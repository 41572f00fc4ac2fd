"""Whether a statement is about an image, by digests of artifact, index and payloads."""

from __future__ import annotations

import hashlib

from otabuild.errors import IntegrityError
from otabuild.format.statement import INDEX, Digests, Statement, Subject
from otabuild.image.image import Image


def image_subjects(image: Image, artifact: str) -> tuple[Subject, ...]:
    """Return what a statement about an image is about.

    Args:
        image: the image.
        artifact: the name of the artifact in the statement; it is not a subject if the image is a
            directory.
    """
    digest = image.source.artifact_digest()
    named = {} if digest is None else {artifact: digest}
    named[INDEX] = hashlib.sha256(image.index_raw).digest()
    named |= {f"payload {payload.name}": payload.descriptor.digest for payload in image.payloads}
    return tuple(
        Subject(name=name, digest=Digests(sha256=digest.hex())) for name, digest in named.items()
    )


def check_subjects(statement: Statement, image: Image, where: str) -> None:
    """Check that a statement is about this image, and about nothing else.

    The artifact may have another name by now. It is not looked at if the image is a directory, or
    if the statement was made without one: index.json says everything that is in it.

    Args:
        statement: the statement, from a verified attestation.
        image: the image.
        where: the file of the attestation, for messages.

    Raises:
        IntegrityError: it is about another image.
    """
    claimed = {subject.name: subject.digest.sha256 for subject in statement.subject}
    found = {subject.name: subject.digest.sha256 for subject in image_subjects(image, "")}
    of_artifact = {name: digest for name, digest in claimed.items() if not _is_inside(name)}
    artifact = found.pop("", None)
    inside = {name: digest for name, digest in claimed.items() if _is_inside(name)}
    for name in sorted(found.keys() | inside.keys()):
        if found.get(name) != inside.get(name):
            raise _other(where, name, found.get(name), inside.get(name))
    if len(claimed) != len(statement.subject) or len(of_artifact) > 1:
        raise IntegrityError("the attestation is about more than one image", where=where)
    if artifact is not None and of_artifact and [*of_artifact.values()] != [artifact]:
        raise _other(where, "the artifact", artifact, next(iter(of_artifact.values()), None))


def _is_inside(name: str) -> bool:
    return name == INDEX or "/" in name  # the name of a file has no slash, that of a payload has


def _other(where: str, name: str, found: str | None, claimed: str | None) -> IntegrityError:
    return IntegrityError(
        "the attestation is about another image",
        where=where,
        observed=f"{name}: {claimed or 'not in the attestation'}",
        expected=found or "not in the image",
        hint="get the attestation that belongs to this image",
    )
