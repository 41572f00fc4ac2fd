"""Images in stores of each kind, for tests of what reads them by URL."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from otabuild.image.image import Image
from otabuild.storage.member import Member, document
from otabuild.stores.store import Store
from tests.image.forge import Forged

FORMS = ("image.zip", "directory", "releases/1.0")
"""Where `put_images` puts the same image: as an artifact, as a directory, and as a release."""


def members_of(image: Forged) -> list[Member]:
    """Return the files of an image, without folders."""
    return [document(name, content) for name, content in image.files if not name.endswith("/")]


def stored_members(image: Image) -> list[Member]:
    """Return the files of an open image, without folders."""
    names = [member.name for member in image.source.members() if not member.name.endswith("/")]
    return [document(name, b"".join(image.source.chunks(name))) for name in names]


def put_release(store: Store, members: Iterable[Member], name: str = "1.0") -> None:
    """Put a release as publishing does: its blobs are beside those of all other releases."""
    for member in members:
        store.put(member.name if member.name.startswith("blobs/") else f"releases/{name}/{member.name}", member)


def put_images(store: Store, image: Forged) -> None:
    """Put an image in each of the `FORMS`."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = image.artifact(Path(folder) / "image.zip").read_bytes()
    store.put("image.zip", document("image.zip", artifact))
    for member in members_of(image):
        store.put(f"directory/{member.name}", member)
    put_release(store, members_of(image))
