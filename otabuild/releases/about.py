"""Documents about a release, such as its bill of materials: beside an image, and in a store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from otabuild.errors import FormatError, IntegrityError, LimitError
from otabuild.format.dsse import LIMIT, Envelope
from otabuild.format.json_text import load_json
from otabuild.format.statement import Statement
from otabuild.format.urls import is_url
from otabuild.image.image import Image
from otabuild.releases.layout import DOCUMENTS, ReleaseId
from otabuild.releases.store_survey import read_small
from otabuild.storage.beside import PROVENANCE, SBOM, SBOM_ATTESTATION, SUFFIXES, documents_beside
from otabuild.storage.files import read_file
from otabuild.storage.member import document
from otabuild.stores.open_store import open_store
from otabuild.stores.store import Store, StoreFile
from otabuild.verification.attested import check_subjects

About = Mapping[str, bytes]
"""Documents by the ends of their names, such as `.cdx.json`."""
_RELEASES = "/releases/"


def about_image(image: Image, stem: str | None = None) -> About:
    """Return the documents about an image: those beside it, or those of its release in a store.

    Args:
        image: an open image.
        stem: what the names of the documents begin with; default: the path of the image.

    Raises:
        IntegrityError: one of them is about another image.
        FormatError, LimitError: one of them is not what its name says.
        StorageError: one of them cannot be read.
    """
    place = (stem or image.path).rstrip("/")
    root, is_release, name = place.rpartition(_RELEASES)
    found: dict[str, bytes] = {}
    if is_release and stem is None:
        release = ReleaseId(name, hashlib.sha256(image.index_raw).digest())
        with closing(open_store(root)) as store:
            kept = (
                (suffix, read_small(store, key_of(release, suffix), LIMIT)) for suffix in SUFFIXES
            )
            found = {suffix: raw for suffix, raw in kept if raw is not None}
    elif not is_url(place):
        found = {
            path.removeprefix(place): read_file(path, LIMIT) for path in documents_beside(place)
        }
    for suffix, raw in found.items():
        _check_subject(image, suffix, raw, f"{place}{suffix}")
    return found


def key_of(release: ReleaseId, suffix: str) -> str:
    """Return the key of a document about a release."""
    return f"{DOCUMENTS}{release}/{suffix.removeprefix('.')}"


def put_about(store: Store, release: ReleaseId, about: About) -> None:
    """Put documents beside a release; those of other names stay, those of the same are replaced.

    Raises:
        StoreError: the store failed.
    """
    for suffix, raw in about.items():
        key = key_of(release, suffix)
        try:
            is_there = read_small(store, key, LIMIT) == raw
        except LimitError:
            is_there = False
        if not is_there:
            store.put(key, document(key, raw))


def stored_about(store: Store, release: ReleaseId) -> Iterator[StoreFile]:
    """Yield the documents about a release that are in a store; errors as for `Store.files`."""
    return store.files(f"{DOCUMENTS}{release}/")


def _check_subject(image: Image, suffix: str, raw: bytes, where: str) -> None:
    """Check that a document is about this image.

    Whom it is from is for `otabuild verify` to say.
    """
    if suffix in (PROVENANCE, SBOM_ATTESTATION):
        payload = Envelope.from_json(raw, where).payload
        check_subjects(Statement.from_json(payload, where, LIMIT), image, where)
    elif suffix == SBOM and hashlib.sha256(image.index_raw).hexdigest() not in _hashes(raw, where):
        hint = "build again, or remove it"
        raise IntegrityError("a bill of materials of another image", where=where, hint=hint)


def _hashes(raw: bytes, where: str) -> list[Any]:
    """Return the digests of what a bill of materials is about."""
    try:
        value: Any = load_json(raw)
        return [one["content"] for one in value["metadata"]["component"]["hashes"]]
    except (ValueError, LookupError, TypeError):
        raise FormatError("not a bill of materials of otabuild", where=where) from None
