"""Turns bytes into stored blobs: hashes them, compresses them if this pays, slices large ones."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from otabuild.assembly.base import Base
from otabuild.assembly.plan import StoragePlan
from otabuild.assembly.proof import is_proven
from otabuild.assembly.stored import Bundle, StoredContent
from otabuild.errors import OtabuildError
from otabuild.format.digest import Blob, sha256_of
from otabuild.format.limits import KIB, LEAF, MIB
from otabuild.rootfs.content import LostContentError, load_content, read_content
from otabuild.rootfs.entry import Content
from otabuild.storage.cache import BlobWriter, Cache
from otabuild.storage.compress import compress, compressor, library_version

_ONE_SHOT = 8 * MIB
"""Up to this size a content is kept in memory: it is read, hashed, looked up, and compressed only
if it is new."""
_SAMPLE = 64 * KIB
_COMPRESSED = (
    b"\x28\xb5\x2f\xfd",  # zstd
    b"\x1f\x8b",  # gzip
    b"\xfd7zXZ\x00",
    b"BZh",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",  # JPEG
)
_FORM = 1
"""Part of every cache key. Increase it when the same input is stored in a different way than
before."""


class StoppedError(OtabuildError):
    """Work was abandoned because another part of it failed or was interrupted."""


@dataclass(slots=True)
class Counts:
    """Counts of files and bytes processed; threads add to them under one lock."""

    files_hashed: int = 0
    bytes_hashed: int = 0
    bytes_read: int = 0
    blobs_compressed: int = 0
    bytes_compressed: int = 0
    contents_reused: int = 0
    contents_of_base: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **amounts: int) -> None:
        """Add amounts by name."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)

    def to_value(self) -> dict[str, int]:
        """Return the amounts under the names that the build report uses."""
        return {
            name.replace("_", "-"): getattr(self, name)
            for name in self.__slots__
            if not name.startswith("_")
        }


@dataclass(frozen=True, slots=True)
class SmallContent:
    """A content that will be in a bundle: its blob, and its bytes or where to read them again."""

    blob: Blob
    path: str
    source: bytes | Content


class ContentStore:
    """Stores contents and bundles in a cache; every method may be called from several threads."""

    def __init__(
        self,
        cache: Cache,
        plan: StoragePlan,
        base: Base | None = None,
        progress: Callable[[int], None] = lambda _size: None,
    ) -> None:
        self.counts = Counts()
        self.stop = threading.Event()
        self._cache, self._plan, self._base, self._progress = cache, plan, base, progress
        self._parameters = repr([_FORM, library_version(), plan.key()]).encode()

    def find(self, blob: Blob) -> StoredContent | None:
        """Return how a content is already stored, or None.

        A base comes first: what the cache has must not decide a byte.
        """
        if self._base is not None and (stored := self._base.single(blob, self._plan)) is not None:
            self.counts.add(contents_of_base=1)
            return stored
        return self._recall(self._key(b"content", blob.digest), [blob])

    def find_bundle(self, members: Sequence[Blob]) -> StoredContent | None:
        """Return how a bundle of these members is already stored, or None."""
        return self._recall(self._key(b"bundle", *(member.digest for member in members)), members)

    def store_file(self, content: Content) -> StoredContent:
        """Read a content once, hash it, and store it unless it is already stored.

        Raises:
            InputChangedError: it changed while it was read, or does not have its earlier digest.
            InputUnreadableError, StorageError: the operating system refused.
        """
        if content.size > _ONE_SHOT:
            return self._store_stream(content)
        data = self._load(content)
        digest = hashlib.sha256(data).digest()
        _hold(content, digest)
        self.counts.add(files_hashed=content.digest is None, bytes_hashed=len(data))
        self._progress(len(data))
        return self.store_bytes(data, Blob(digest, len(data)))

    def store_bytes(self, data: bytes, blob: Blob) -> StoredContent:
        """Store a content with a known digest, unless it is already stored."""
        stored = self.find(blob)
        if stored is None:
            stored = self._store_new(data, blob, self._plan.compress_level)
            self._cache.remember(self._key(b"content", blob.digest), list(stored))
        return stored

    def store_alone(self, member: SmallContent) -> StoredContent:
        """Store a member that is alone in its bundle."""
        return self.store_bytes(self._data(member), member.blob)

    def store_bundle(self, members: Sequence[SmallContent]) -> Bundle:
        """Store two or more contents as one bundle.

        Raises:
            InputChangedError: a member changed before it was read again.
        """
        data = b"".join(self._data(member) for member in members)
        blob = Blob(hashlib.sha256(data).digest(), len(data))
        stored = self._store_new(data, blob, self._plan.bundle_level)
        blobs = [member.blob for member in members]
        self._cache.remember(
            self._key(b"bundle", *(member.digest for member in blobs)), list(stored)
        )
        return Bundle.of(stored, blobs)

    def _load(self, content: Content) -> bytes:
        if self.stop.is_set():
            raise StoppedError("stopped")
        data = load_content(content)
        self.counts.add(bytes_read=len(data))
        return data

    def _data(self, member: SmallContent) -> bytes:
        if isinstance(member.source, bytes):
            return member.source
        data = self._load(member.source)
        _hold(member.source._replace(digest=member.blob.digest), hashlib.sha256(data).digest())
        return data

    def _store_new(self, data: bytes, blob: Blob, level: int) -> StoredContent:
        if self.stop.is_set():
            raise StoppedError("stopped")
        # No probe: incompressible data costs little at these levels.
        if blob.size > self._plan.compress_min:
            frame = compress(data, level)
            self.counts.add(blobs_compressed=1, bytes_compressed=len(data))
            if len(frame) * self._plan.compress_ratio <= len(data):
                compressed = self._cache.add(frame)
                return StoredContent(blob, compressed, (compressed,))
        return StoredContent(blob, None, (self._cache.add(data),))

    def _pays(self, sample: bytes) -> bool:
        """Whether to try to compress content that starts like this.

        A failed attempt costs a second read.
        """
        if sample.startswith(_COMPRESSED):
            return False
        return len(compress(sample, 1)) * self._plan.compress_ratio <= len(sample)

    def _store_stream(self, content: Content) -> StoredContent:
        """Hash and compress a large content in one read, and cut its frame into slices."""
        digest = content.digest
        if digest is None and self._base is not None and self._base.singles:
            # One more read costs less than compressing what the base has.
            digest = self._hash(content)
        if digest is not None and (stored := self.find(Blob(digest, content.size))) is not None:
            self._progress(content.size)
            return stored
        stored = self._stream(content, try_to_compress=True)
        if stored.compressed and stored.compressed.size * self._plan.compress_ratio > content.size:
            stored = self._stream(content, try_to_compress=False)
        _hold(content, stored.content.digest)
        self.counts.add(files_hashed=content.digest is None, bytes_hashed=content.size)
        self._cache.remember(self._key(b"content", stored.content.digest), list(stored))
        return stored

    def _stream(self, content: Content, *, try_to_compress: bool) -> StoredContent:
        digest, frame = hashlib.sha256(), None
        slices = _Slices(self._cache)
        for number, chunk in enumerate(self._chunks(content)):
            if number == 0 and try_to_compress and self._pays(chunk[:_SAMPLE]):
                frame = compressor(self._plan.compress_level).compressobj(size=content.size)
            digest.update(chunk)
            if try_to_compress:  # the second read of a content is no progress
                self._progress(len(chunk))
            slices.write(frame.compress(chunk) if frame else chunk)
        if frame:
            slices.write(frame.flush())
            self.counts.add(blobs_compressed=1, bytes_compressed=content.size)
        whole = slices.finish()
        return StoredContent(
            Blob(digest.digest(), content.size), whole if frame else None, tuple(slices.leaves)
        )

    def _hash(self, content: Content) -> bytes:
        digest = sha256_of(self._chunks(content))
        self.counts.add(files_hashed=1, bytes_hashed=content.size)
        return digest

    def _chunks(self, content: Content) -> Iterator[bytes]:
        for chunk in read_content(content, MIB):
            if self.stop.is_set():
                raise StoppedError("stopped")
            self.counts.add(bytes_read=len(chunk))
            yield chunk

    def _recall(self, key: bytes, members: Sequence[Blob]) -> StoredContent | None:
        """Return how contents are stored: as the cache says, or proves about records of others."""
        value = self._cache.recall(key)
        if value is None:
            stored = self._proven(key, members)
        else:
            stored = StoredContent.of(value)
            stored = stored if all(map(self._cache.has, stored.leaves)) else None
        if stored is not None:
            self.counts.add(contents_reused=1)
        return stored

    def _proven(self, key: bytes, members: Sequence[Blob]) -> StoredContent | None:
        value = self._cache.recall_unsealed(key)
        try:
            stored = None if value is None else StoredContent.of(value)
        except (TypeError, ValueError):
            return None
        if stored is None or not is_proven(stored, members, self._plan, self._cache):
            return None
        self._cache.remember(key, list(stored))
        return stored

    def _key(self, kind: bytes, *digests: bytes) -> bytes:
        return hashlib.sha256(b"\0".join((kind, self._parameters, b"".join(digests)))).digest()


class _Slices:
    """Writes bytes as leaves of 32 MiB, the last one smaller."""

    def __init__(self, cache: Cache) -> None:
        self.leaves: list[Blob] = []
        self._cache = cache
        self._hash, self._size = hashlib.sha256(), 0
        self._writer: BlobWriter | None = None

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._hash.update(data)
        self._size += len(data)
        while data:
            self._writer = self._writer or self._cache.new_blob(LEAF)
            room = LEAF - self._writer.size
            self._writer.write(data[:room])
            data = data[room:]
            if self._writer.size == LEAF:
                self._commit()

    def finish(self) -> Blob:
        """Return digest and size of all the leaves together."""
        self._commit()
        return Blob(self._hash.digest(), self._size)

    def _commit(self) -> None:
        if self._writer is not None:
            self.leaves.append(self._writer.commit())
            self._writer = None


def _hold(content: Content, digest: bytes) -> None:
    """Check what was read against the content's earlier digest, if any."""
    if content.digest is not None and content.digest != digest:
        raise LostContentError(content._replace(digest=digest))
