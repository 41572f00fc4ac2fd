"""The release that a recipe names as its base, believed as far as its signer is trusted."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import NamedTuple

from otabuild.assembly.base import Base
from otabuild.assembly.stored import Bundle, BundleMember, StoredContent
from otabuild.errors import FormatError, InputError, IntegrityError, TrustError
from otabuild.format import annotations as ann
from otabuild.format.digest import Blob, blob_name
from otabuild.format.filters import Bundled, Compressed, Filter, Sliced, parse_filter
from otabuild.format.resource_table import ResourceRow
from otabuild.format.sizes import counted
from otabuild.format.urls import is_url
from otabuild.image.image import Image, open_image
from otabuild.pipeline.trust_settings import trust_policy
from otabuild.recipe.model import Recipe
from otabuild.recipe.named_files import naming_key
from otabuild.storage import files
from otabuild.storage.zstd import has_checksum_and_size

KEYS = ("storage", "base")
"""Where a recipe names it."""
BaseState = list[int] | str | None
"""See `base_state`."""


class OpenBase(NamedTuple):
    """What the base has, while it is open, and what was asked of its server so far."""

    base: Base
    traffic: Callable[[], Mapping[str, int]]


@contextmanager
def open_base(recipe: Recipe, now: int, warn: Callable[[str], None]) -> Iterator[OpenBase]:
    """Open the release that a recipe names as its base, and yield what it has while it is open.

    If a signer whom `verify.trust` trusts vouches for it, its tables are believed. If it is signed
    by somebody else, it is not used at all. Without a signature, or without `verify.trust`, its
    bundles are used by their bytes. It may be an artifact of an early builder; only bundles that
    the format allows are of use then.

    Args:
        recipe: the recipe.
        now: Unix seconds.
        warn: called with each deviation from the format that was met, and if the base is not used.

    Raises:
        OtabuildError: it is not an image, its tables are invalid, or it is not what was signed.
    """
    named, place = naming_key(recipe, *KEYS), recipe.storage.base or ""
    with named(open_image)(place, compat=True) as image:

        @named
        def read(blob: Blob) -> bytes:
            return b"".join(image.blobs.stream(blob.digest, blob.size))

        traffic = partial(_traffic, image)
        try:
            is_signed = named(_is_signed)(image, recipe, now)
        except TrustError as error:
            warn(f"storage.base {place} is not used: {error}")
            yield OpenBase(Base((), read), traffic)
            return
        is_trusted = is_signed and _is_ours(image)
        forms = named(_StoredForms)(image, believed=is_trusted)
        bundles = named(list)(forms.bundles())
        for note in image.compat.notes:
            warn(f"storage.base {place}: {note}")
        yield OpenBase(Base(bundles, read, forms.singles, is_trusted=is_trusted), traffic)


class BaseSummary(NamedTuple):
    """What a base may give.

    That is whether a trusted signer vouches for it, and how many resources it has in a form that is
    known.
    """

    place: str
    is_trusted: bool
    resources: int

    def describe(self) -> str:
        """Say it in one line."""
        if not self.resources:
            how = "not used"
        elif self.is_trusted:
            how = "nothing of them is compressed or fetched again"
        else:
            how = "used by their bytes"
        return f"base: {self.place}: {counted(self.resources, 'resource')}, {how}"


def summarize_base(recipe: Recipe, now: int, warn: Callable[[str], None]) -> BaseSummary | None:
    """Return what the base of a recipe may give; arguments and errors as for `open_base`.

    It is None if there is no base, or if it is missing, which the preflight tells.
    """
    place = recipe.storage.base
    if place is None or _is_missing(place):
        return None
    with open_base(recipe, now, warn) as (base, _):
        return BaseSummary(place, base.is_trusted, len(base.singles) + len(base.bundle_of))


def _traffic(image: Image) -> dict[str, int]:
    requests, size = image.source.traffic() or (0, 0)
    return {"base-requests": requests, "base-bytes": size}


class BaseBlobs(AbstractContextManager["BaseBlobs"]):
    """The blobs of the base of a recipe; it is opened when the first one is read."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._image: Image | None = None
        self._lock = threading.Lock()

    def __exit__(self, *_: object) -> None:
        if self._image is not None:
            self._image.close()

    def read(self, blob: Blob) -> Iterator[bytes]:
        """Yield the bytes of a blob in parts, checked against its digest.

        May be called from several threads.

        Raises:
            InputError: the base does not have it.
            OtabuildError: the base cannot be read.
        """
        with naming_key(self._recipe, *KEYS):
            try:
                yield from map(bytes, self._opened().blobs.stream(blob.digest, blob.size))
            except IntegrityError as error:
                what = "the base does not have a blob that the image takes from it"
                hint = "name a base that is complete, or leave `storage.base` out"
                raise InputError(
                    what, where=self._recipe.storage.base, observed=error, hint=hint
                ) from None

    def traffic(self) -> Mapping[str, int]:
        """Return what was asked of the base's server, by the names of the build report.

        It is empty if nothing was.
        """
        return _traffic(self._image) if self._image else {}

    def _opened(self) -> Image:
        with self._lock:
            if self._image is None:
                self._image = open_image(self._recipe.storage.base or "", compat=True)
            return self._image


def base_state(recipe: Recipe) -> BaseState:
    """Return what shows that a base is unchanged: the state of its file, or its index's digest.

    It is None if there is no base, or if it is missing, which the preflight tells.

    Raises:
        OtabuildError: there is no image at its URL.
    """
    place = recipe.storage.base
    if place is None or _is_missing(place):
        return None
    if is_url(place):
        with naming_key(recipe, *KEYS), open_image(place) as image:
            return hashlib.sha256(image.index_raw).hexdigest()
    # What a link leads to counts, and in a folder the index, which names every other file.
    document = os.path.join(place, "index.json")
    return files.file_state(os.path.realpath(document if os.path.exists(document) else place))


def _is_missing(place: str) -> bool:
    return not is_url(place) and not os.path.exists(place)


def check_base(place: str) -> None:
    """Check that a base is an image, by its index; whether and for what it is used, shows later.

    Raises:
        OtabuildError: it is not.
    """
    with open_image(place, compat=True) as image:
        if not image.index.has_resource_table:
            raise FormatError(
                "an image without a resource table, which is of no use as a base", where=place
            )


def _is_signed(image: Image, recipe: Recipe, now: int) -> bool:
    """Whether a trusted signer signed the image.

    Raises:
        TrustError: somebody else did.
    """
    from otabuild.verification.verify_sign import verify_sign

    if not (recipe.verify and recipe.verify.trust) or image.token_raw is None:
        return False
    verify_sign(image, trust_policy(recipe.verify), now)
    return True


def _is_ours(image: Image) -> bool:
    """Whether otabuild made it: others may have frames that an image of ours must not have."""
    return str((image.index.annotations or {}).get(ann.BUILDER_VERSION, "")).startswith("otabuild")


class _StoredForms:
    """How the contents of an image are stored, read in one pass over its resource table.

    Args:
        image: an open image.
        believed: whether what its tables say is true. If not, only its bundles are of use.
    """

    def __init__(self, image: Image, *, believed: bool) -> None:
        self._image, self._believed = image, believed
        self._blobs: dict[int, ResourceRow] = {}
        self._members: defaultdict[int, list[BundleMember]] = defaultdict(list)
        self.singles: dict[bytes, StoredContent] = {}
        for row in image.resources.rows():
            applied = _filter(row)
            # Our tables begin with the blobs, so that filters name what was met.
            if believed and applied is None:
                self._blobs[row.resource_id] = row
            if isinstance(applied, Bundled):
                member = BundleMember(Blob(row.digest, row.size), applied.offset)
                self._members[applied.bundle_id].append(member)
            elif believed and (stored := self._stored(row, applied)):
                self.singles[row.digest] = stored

    def bundles(self) -> Iterator[Bundle]:
        """Yield each bundle that is one blob."""
        for bundle_id, members in sorted(self._members.items()):
            row = self._image.resources.by_id(bundle_id, "the bundle of a content")
            stored = self._stored(row, _filter(row))
            if stored is None or stored.leaves != (stored.compressed or stored.content,):
                continue
            if (
                self._believed
                or not stored.compressed
                or _is_whole_frame(self._image, stored.compressed.digest)
            ):
                yield Bundle.with_members(stored, members)

    def _stored(self, row: ResourceRow, applied: Filter | None) -> StoredContent | None:
        """Return how a content outside bundles is stored; None if not as a build would store it."""
        content, compressed = Blob(row.digest, row.size), None
        if isinstance(applied, Compressed):
            frame = self._row(applied.resource_id, "a compressed content")
            compressed, applied = Blob(frame.digest, frame.size), _filter(frame)
        match applied:
            case None:
                return StoredContent(content, compressed, (compressed or content,))
            case Sliced(resource_ids):
                parts = (self._row(part, "a sliced content") for part in resource_ids)
                return StoredContent(
                    content, compressed, tuple(Blob(part.digest, part.size) for part in parts)
                )
        return None

    def _row(self, resource_id: int, wanted_by: str) -> ResourceRow:
        return self._blobs.get(resource_id) or self._image.resources.by_id(resource_id, wanted_by)


def _is_whole_frame(image: Image, digest: bytes) -> bool:
    """Whether a blob begins as a frame of the format; its bytes are verified when it is taken."""
    name = blob_name(digest)
    # That a blob is missing is told when it is taken: perhaps it never is.
    return image.source.size(name) is None or has_checksum_and_size(
        next(image.source.chunks(name), b"")
    )


def _filter(row: ResourceRow) -> Filter | None:
    return None if row.filter_applied is None else parse_filter(row.filter_applied, "base artifact")
