"""The bundles of the artifact that a recipe names as its base."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from otabuild.assembly.base_bundles import Base
from otabuild.assembly.stored import Bundle, BundleMember, StoredContent
from otabuild.format.digest import Blob
from otabuild.format.filters import Bundled, Compressed, parse_filter
from otabuild.recipe.model import Recipe
from otabuild.recipe.named_files import naming_key

if TYPE_CHECKING:
    from otabuild.image.image import Image


@contextmanager
def open_base(recipe: Recipe, path: str) -> Iterator[Base]:
    """Open the artifact that a recipe names as its base, and yield its bundles while it is open.

    Raises:
        OtabuildError: it is not an image, or its resource table is invalid.
    """
    from otabuild.image.image import open_image

    named = naming_key(recipe, "storage", "base")
    with named(open_image)(path) as image:

        @named
        def read(blob: Blob) -> bytes:
            return b"".join(image.blobs.stream(blob.digest, blob.size))

        yield Base(named(list)(_bundles(image)), read)


def _bundles(image: Image) -> Iterator[Bundle]:
    members: defaultdict[int, list[BundleMember]] = defaultdict(list)
    for row in image.resources.rows():
        match _filter(row.filter_applied):
            case Bundled(bundle_id, offset, _length):
                members[bundle_id].append(BundleMember(Blob(row.digest, row.size), offset))
    for bundle_id, parts in sorted(members.items()):
        row = image.resources.by_id(bundle_id, "the bundle of a content")
        content = Blob(row.digest, row.size)
        match _filter(row.filter_applied):
            case None:
                yield Bundle(StoredContent(content, None, (content,)), tuple(parts))
            case Compressed(leaf_id):
                leaf = image.resources.by_id(leaf_id, "the frame of a bundle")
                if leaf.filter_applied is None:
                    frame = Blob(leaf.digest, leaf.size)
                    yield Bundle(StoredContent(content, frame, (frame,)), tuple(parts))


def _filter(raw: bytes | None) -> object:
    return None if raw is None else parse_filter(raw, "base artifact")
