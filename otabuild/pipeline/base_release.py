"""The bundles of the artifact that a recipe names as its base."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from otabuild.assembly.base_bundles import Base
from otabuild.assembly.stored import Bundle, BundleMember, StoredContent
from otabuild.format.digest import Blob, blob_name
from otabuild.format.filters import Bundled, Compressed, parse_filter
from otabuild.recipe.model import Recipe
from otabuild.recipe.named_files import naming_key
from otabuild.storage.zstd import has_checksum_and_size

if TYPE_CHECKING:
    from otabuild.image.image import Image


@contextmanager
def open_base(recipe: Recipe, path: str, warn: Callable[[str], None]) -> Iterator[Base]:
    """Open the artifact that a recipe names as its base, and yield its bundles while it is open.

    It may be one of an early builder. Only bundles that the format allows are of use: our image has no others.

    Args:
        recipe: the recipe.
        path: the artifact.
        warn: called with each deviation from the format that was met.

    Raises:
        OtabuildError: it is not an image, or its resource table is invalid.
    """
    from otabuild.image.image import open_image

    named = naming_key(recipe, "storage", "base")
    with named(open_image)(path, compat=True) as image:

        @named
        def read(blob: Blob) -> bytes:
            return b"".join(image.blobs.stream(blob.digest, blob.size))

        bundles = named(list)(_bundles(image))
        for note in image.compat.notes:
            warn(f"storage.base {path}: {note}")
        yield Base(bundles, read)


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
                if leaf.filter_applied is None and _is_whole_frame(image, leaf.digest):
                    frame = Blob(leaf.digest, leaf.size)
                    yield Bundle(StoredContent(content, frame, (frame,)), tuple(parts))


def _is_whole_frame(image: Image, digest: bytes) -> bool:
    """Whether a blob begins as a frame of the format; its bytes are verified when it is taken."""
    name = blob_name(digest)
    return image.source.size(name) is None or has_checksum_and_size(next(image.source.chunks(name), b""))


def _filter(raw: bytes | None) -> object:
    return None if raw is None else parse_filter(raw, "base artifact")
