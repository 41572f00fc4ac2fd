"""Verifies an image, and publishes it as a release."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import closing

from otabuild.image.image import Image
from otabuild.releases.about import about_image
from otabuild.releases.checked_image import checked_contents
from otabuild.releases.publish import Pause, Published, held_blobs, publish
from otabuild.stores.open_store import open_store
from otabuild.tally import Progress


def publish_image(
    image: Image,
    place: str,
    name: str,
    now: int,
    *,
    unsigned: bool,
    pause: Pause,
    proven: Collection[bytes] = (),
    stem: str | None = None,
    progress: Callable[[str], Progress],
) -> Published:
    """Publish an open image and its documents, verified first; upload only what the store lacks.

    What a published release has already is taken from the store by vehicles, so its bytes here do
    not matter, and it is not hashed. Should it have to be uploaded after all, that hashes it.

    Args:
        image: the image.
        place: the store, by path or URL.
        name: of the release.
        now: Unix seconds, for the validity of certificates.
        unsigned: also publish an image that is not signed.
        pause: called while somebody prunes.
        proven: digests of blobs that are right without being read; see `verify`.
        stem: what the names of the documents about it begin with; default: its path.
        progress: returns what is called with bytes done and their total, for `verify` and for
            `upload`.

    Raises:
        OtabuildError: as for `checked_contents`, `about_image`, `open_store` and `publish`.
    """
    about = about_image(image, stem)
    with closing(open_store(place)) as store:
        held = held_blobs(store, image.blobs.stored() or {})
        contents = checked_contents(
            image, now, unsigned=unsigned, proven=held.union(proven), progress=progress("verify")
        )
        return publish(store, name, contents, about=about, pause=pause, progress=progress("upload"))
