"""Turns rootfs entries into stored contents: reads files once, makes bundles and blobs in parallel.

The result depends only on the trees and the plan, not on the content of the cache or the scheduling
of threads.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Self

from otabuild.assembly.base import Base
from otabuild.assembly.chunker import Chunker
from otabuild.assembly.content_store import ContentStore, Counts, SmallContent
from otabuild.assembly.plan import StoragePlan, is_inlined
from otabuild.assembly.stored import Bundle, Storage, StoredContent
from otabuild.assembly.tree import TreeRow
from otabuild.format.digest import Blob
from otabuild.format.file_table import EMPTY_DIGEST, pack_xattrs
from otabuild.format.limits import MIB
from otabuild.rootfs.content import load_content
from otabuild.rootfs.entry import RACY_NS, Content, Entry, StatKey
from otabuild.storage.cache import Cache

_Known = tuple[bytes | None, bytes | None]
"""Digest and inlined content of a file, as far as they are known."""
_LARGE = MIB
"""Contents over this size are started first, the largest ahead, so that none runs alone at the
end."""
_BATCH = 1000
_BACKLOG, _BACKLOG_BYTES = 8, 32 * MIB
"""Bundles and contents in progress per worker, to bound memory: as many bundles as these bytes
hold, at most 8."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a build step gets from outside. It does not affect any byte of the image.

    Attributes:
        cache: the cache of the work directory.
        workers: number of threads.
        now_ns: start of the run, in nanoseconds.
        progress: called with the number of bytes done.
    """

    cache: Cache
    workers: int
    now_ns: int
    progress: Callable[[int], None]


def store_contents(
    trees: Sequence[Callable[[], Iterable[Entry]]],
    plan: StoragePlan,
    environment: Environment,
    base: Base | None = None,
) -> tuple[Storage, list[Iterator[TreeRow]], Counts]:
    """Store every content of the trees.

    Args:
        trees: for each rootfs a function that returns its entries in path order; it may be called
            several times.
        plan: how contents are stored.
        environment: cache, workers, time and progress.
        base: an earlier release; its bundles are reused while they are still worth it.

    Returns:
        The storage of all contents; the rows of each tree, to be read once; and the counts of the
        work done.

    Raises:
        InputChangedError, InputUnreadableError, StorageError: see ContentStore.
    """
    with _StoreRun(plan, environment, base) as run:
        run.begin_large(chain.from_iterable(tree() for tree in trees))
        digests = [run.add_tree(tree()) for tree in trees]
        if base:
            run.settle_base()
        run.finish()
    rows = [_rows(tree(), found, run.inline) for tree, found in zip(trees, digests, strict=True)]
    return run.storage(), rows, run.store.counts


class _Digests:
    """The digests of the files of a tree, in order: 32 bytes each, whatever the number of files."""

    def __init__(self) -> None:
        self._known = bytearray()
        self._singles: dict[int, _Single] = {}

    def append(self, digest: bytes | _Single) -> None:
        """Append a digest, or where it will be when all threads have finished."""
        if isinstance(digest, _Single):
            self._singles[len(self._known)] = digest
            digest = EMPTY_DIGEST
        self._known += digest

    def __iter__(self) -> Iterator[bytes]:
        for place in range(0, len(self._known), len(EMPTY_DIGEST)):
            if single := self._singles.get(place):
                assert single.stored is not None
                yield single.stored.content.digest
            else:
                yield bytes(self._known[place : place + len(EMPTY_DIGEST)])


class _Single:
    """A content stored by itself.

    `stored` is None until its thread has finished; `met` is whether the pass over the trees has met
    it, so that its bytes are counted once for each path.
    """

    __slots__ = ("met", "stored")

    def __init__(self, stored: StoredContent | None) -> None:
        self.stored, self.met = stored, False


class _StoreRun:
    """One pass over all trees; a context manager around its threads."""

    def __init__(self, plan: StoragePlan, environment: Environment, base: Base | None) -> None:
        self.store = ContentStore(environment.cache, plan, base, environment.progress)
        self._base = base
        self._waiting: defaultdict[int, list[SmallContent]] = defaultdict(list)
        self.inline: dict[bytes, bytes] = {}
        self._plan, self._environment = plan, environment
        self._pool = ThreadPoolExecutor(environment.workers)
        self._under_way: deque[Callable[[], None]] = deque()
        self._backlog = environment.workers * max(
            1, min(_BACKLOG, _BACKLOG_BYTES // plan.bundle_max)
        )
        self._singles: dict[StatKey | bytes, _Single] = {}
        self._bundles: list[Bundle | None] = []
        self._bundled: set[bytes] = set()
        self._members: list[SmallContent] = []
        self._chunker = Chunker(plan)
        self._hashed: list[tuple[StatKey, bytes, bytes | None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is not None:
            self.store.stop.set()
        self._pool.shutdown(cancel_futures=kind is not None)

    def begin_large(self, entries: Iterable[Entry]) -> None:
        """Start the largest contents first, so that no core is idle at the end."""
        large = [
            (entry, entry.content)
            for entry in entries
            if entry.content and entry.content.size > _LARGE
        ]
        large.sort(key=lambda found: -found[1].size)
        for _, content, (digest, _) in self._known(large):
            self._single(content, digest)

    def add_tree(self, entries: Iterable[Entry]) -> _Digests:
        """Take every regular file of a tree.

        Returns their digests, which are complete when the run is finished.
        """
        found = _Digests()
        linked: dict[str, bytes | _Single] = {}
        files = ((entry, entry.content) for entry in entries if entry.content is not None)
        for entry, content, known in self._known(files):
            digest = linked.get(entry.link) if entry.link is not None else None
            if digest is None:
                digest = self._add(entry.path, content, known)
                if entry.link is not None:
                    linked[entry.link] = digest
            else:
                # Another path of a file that was taken already.
                self._environment.progress(content.size)
            found.append(digest)
        # A bundle does not span two rootfs (section 7).
        self._end_bundle()
        self._chunker = Chunker(self._plan)
        return found

    def settle_base(self) -> None:
        """Reuse bundles of the earlier release that are still worth it; bundle what else waits."""
        assert self._base is not None
        left = []
        for number, members in self._waiting.items():
            bundle = self._base.bundles[number]
            # At least half of its bytes must still be wanted (section 7).
            if 2 * sum(member.blob.size for member in members) >= bundle.stored.content.size:
                wanted = [member.blob for member in members]
                self._bundles.append(self._base.settle(bundle, wanted, self._environment.cache))
                self.store.counts.add(contents_of_base=len(wanted))
            else:
                left += members
        # In path order, as the chunker takes them.
        for member in sorted(left, key=lambda member: member.path):
            self._put(member)
        self._end_bundle()

    def finish(self) -> None:
        """Wait for everything in progress."""
        while self._under_way:
            self._under_way.popleft()()
        self._flush_hashed()

    def storage(self) -> Storage:
        """Return everything that is stored, in order of first occurrence."""
        # By digest: that two files have one content may be known only after both were read
        # (decision 0004).
        singles = {
            single.stored.content.digest: single.stored
            for single in self._singles.values()
            if single.stored
        }
        return Storage(list(singles.values()), [bundle for bundle in self._bundles if bundle])

    def _add(self, path: str, content: Content, known: _Known) -> bytes | _Single:
        if content.size == 0:
            return EMPTY_DIGEST
        digest, inline = known
        if content.size > self._plan.bundle_member_max:
            single = self._single(content, digest)
            if single.met:
                self._environment.progress(content.size)
            single.met = True
            return single
        # Small contents are read here and not in a thread: handing over a few hundred bytes costs
        # more than hashing them. `data` may then be given to the bundle, so that no file is read
        # twice; a base may make the bundle unnecessary, so what waits for it keeps only where to
        # read, or memory would hold every small file of the tree.
        data = inline
        if digest is None or (is_inlined(content.size) and inline is None):
            data = load_content(content)
            digest = hashlib.sha256(data).digest()
            self.store.counts.add(files_hashed=1, bytes_hashed=len(data), bytes_read=len(data))
            self._remember(content, digest, data if is_inlined(content.size) else None)
        self._environment.progress(content.size)
        if is_inlined(content.size):
            assert data is not None
            self.inline[digest] = data
        elif digest not in self._bundled:
            self._bundled.add(digest)
            blob = Blob(digest, content.size)
            earlier = self._base.bundle_of.get(digest) if self._base else None
            if earlier is None:
                self._put(SmallContent(blob, path, data or content))
            else:
                self._waiting[earlier].append(SmallContent(blob, path, content))
        return digest

    def _put(self, member: SmallContent) -> None:
        """Put a content into the current bundle or into the next one."""
        if self._chunker.starts_new(member.path, member.blob.size):
            self._end_bundle()
        self._members.append(member)

    def _known(
        self, files: Iterable[tuple[Entry, Content]]
    ) -> Iterator[tuple[Entry, Content, _Known]]:
        """Yield the files with what is known without reading them.

        The cache is asked for many at a time.
        """
        left = iter(files)
        while batch := list(islice(left, _BATCH)):
            contents = (content for _, content in batch if content.digest is None)
            keys = [content.stat_key for content in contents if content.stat_key is not None]
            hashed = self._environment.cache.hashed(keys)
            for entry, content in batch:
                known = None if content.stat_key is None else hashed.get(content.stat_key)
                yield entry, content, known or (content.digest, None)

    def _single(self, content: Content, digest: bytes | None) -> _Single:
        """Store a content by itself, unless this run has it under its digest or stat key."""
        # A digest may be known now that was not when `begin_large` took the same file.
        key = content.stat_key if content.stat_key in self._singles else digest or content.stat_key
        assert key is not None
        single = self._singles.get(key)
        if single is None:
            single = self._singles[key] = _Single(
                self.store.find(Blob(digest, content.size)) if digest else None
            )
            if single.stored is None:
                future = self._pool.submit(self.store.store_file, content._replace(digest=digest))
                self._start(partial(self._end_single, single, future, content, digest))
            else:
                self._environment.progress(content.size)
        return single

    def _end_single(
        self, single: _Single, future: Future[StoredContent], content: Content, digest: bytes | None
    ) -> None:
        single.stored = future.result()
        if digest is None:
            self._remember(content, single.stored.content.digest, None)

    def _end_bundle(self) -> None:
        """Store the collected members; a single one is stored by itself."""
        members, self._members = self._members, []
        if len(members) == 1:
            alone = members[0]
            single = self._singles[alone.blob.digest] = _Single(self.store.find(alone.blob))
            if single.stored is None:
                single.stored = self.store.store_alone(alone)
        elif members:
            self._bundle(members)

    def _bundle(self, members: list[SmallContent]) -> None:
        blobs = tuple(member.blob for member in members)
        stored = self.store.find_bundle(blobs)
        self._bundles.append(Bundle.of(stored, blobs) if stored else None)
        if stored is None:
            future = self._pool.submit(self.store.store_bundle, members)
            self._start(partial(self._end_bundle_job, len(self._bundles) - 1, future))

    def _end_bundle_job(self, place: int, future: Future[Bundle]) -> None:
        self._bundles[place] = future.result()

    def _start(self, end: Callable[[], None]) -> None:
        """Record how a job ends; if many are in progress, wait for the oldest."""
        self._under_way.append(end)
        if len(self._under_way) > self._backlog:
            self._under_way.popleft()()

    def _remember(self, content: Content, digest: bytes, inline: bytes | None) -> None:
        key = content.stat_key
        if key is not None and max(key.mtime_ns, key.ctime_ns) < self._environment.now_ns - RACY_NS:
            self._hashed.append((key, digest, inline))
            if len(self._hashed) >= _BATCH:
                self._flush_hashed()

    def _flush_hashed(self) -> None:
        self._environment.cache.remember_hashed(self._hashed)
        self._hashed.clear()


def _rows(
    entries: Iterable[Entry], digests: Iterable[bytes], inline: Mapping[bytes, bytes]
) -> Iterator[TreeRow]:
    """Yield the tree with its digests; hard-link groups are numbered in path order."""
    groups: dict[str, int] = {}
    found = iter(digests)
    for entry in entries:
        digest, size = None, 0
        if entry.content is not None:
            digest, size = next(found), entry.content.size
        yield TreeRow(
            path=entry.path,
            mode=entry.mode,
            uid=entry.uid,
            gid=entry.gid,
            xattrs=pack_xattrs(entry.xattrs, entry.path),
            target=entry.target,
            link=None if entry.link is None else groups.setdefault(entry.link, len(groups)),
            digest=digest,
            size=size,
            inline=inline.get(digest) if digest else None,
        )
    assert next(found, None) is None, "both passes met the same files"
