"""A store of releases: one small interface over a folder, a bucket or a web server.

`stores/open_store.py` opens one by its URL. A new kind is a module with a subclass, and a line
there; the suite in tests/stores/test_stores.py says how it must behave.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from otabuild.storage.backend import Wanted
from otabuild.storage.member import Member


class StoreFile(NamedTuple):
    """A file of a store; `modified` is in Unix seconds, by the clock of the store."""

    key: str
    size: int
    modified: float


@dataclass(slots=True)
class Traffic:
    """What was asked of a store, and the bytes that it gave; may be counted by several threads."""

    requests: int = 0
    bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, requests: int, size: int) -> None:
        """Count requests, and bytes received."""
        with self._lock:
            self.requests += requests
            self.bytes += size


class Store(ABC):
    """Files by key, as `blobs/sha256/<hex>` or `releases/1.0/index.json`. None is verified.

    A file is put as a whole or not at all, and whoever reads sees the old one or the new one. What
    was put is seen by everybody who looks afterwards, and is in the list. Every method may be
    called from several threads.

    Attributes:
        url: what the user named, for messages; it holds no secret.
        traffic: what was asked so far.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.traffic = Traffic()

    @property
    def can_list(self) -> bool:
        """Whether `files` works: some web servers have no way to tell.

        Raises:
            StoreError: the store could not be asked.
        """
        return True

    @abstractmethod
    def put(self, key: str, member: Member) -> None:
        """Write the bytes of a member as a file, or replace it.

        A file outside `blobs/` is on the disk, with everything that was put before it, when this
        returns.

        Raises:
            DamagedBlobError: the bytes do not have the size and digest of the member; nothing was
                written.
            StoreError: the store did not take it.
        """

    @abstractmethod
    def chunks(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield a file from `start` to `end` (None: its size) in parts of at most 1 MiB.

        Raises:
            NoSuchFileError: it is missing.
            IntegrityError: it is shorter than `end`, or changed while it was read.
            StoreError: the store could not be read.
        """

    def fetch(self, files: Sequence[Wanted]) -> Sequence[bytes | None]:
        """Return the bytes of small files.

        None stands for one that did not come with its size: `chunks` tells why.
        """
        return [None for _ in files]

    @abstractmethod
    def stat(self, key: str) -> StoreFile | None:
        """Return what the store knows of a file, or None if it does not exist.

        Raises:
            StoreError: the store could not be asked.
        """

    @abstractmethod
    def files(self, prefix: str) -> Iterator[StoreFile]:
        """Yield every file below a folder, such as `claims/` or `` for all, in any order.

        Raises:
            StoreError: the store could not be asked, or `can_list` is False.
        """

    def leftovers(self) -> Iterator[StoreFile]:
        """Yield what writers have not finished, at work or killed. Only some kinds show it.

        Raises:
            StoreError: the store could not be asked.
        """
        return iter(())

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove a file; it may be missing.

        Raises:
            StoreError: the store did not remove it.
        """

    @abstractmethod
    def close(self) -> None:
        """Release what is open."""
