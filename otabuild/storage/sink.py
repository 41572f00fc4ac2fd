"""Where an image is written to: one small interface.

Whoever writes an image has a list of its members and gives it to a sink, which makes all of them
visible at once, or none. The suite in tests/storage/test_sinks.py says how a sink must behave.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from otabuild.storage.directory_writer import write_directory
from otabuild.storage.member import Member
from otabuild.storage.zip_writer import write_artifact


@dataclass(frozen=True, slots=True)
class Sink(ABC):
    """A place for one image; `path` is what the user named."""

    path: str

    @abstractmethod
    def write(
        self, members: Sequence[Member], *, workers: int, progress: Callable[[int], None]
    ) -> str | None:
        """Write the members; an image that is there already is replaced by the complete new one.

        Args:
            members: in any order; folders are added.
            workers: number of threads; does not affect the bytes.
            progress: called with the size of each copied member.

        Returns:
            The SHA-256 of the whole, as hex, if it is one file.

        Raises:
            DamagedBlobError: a member is not what its digest says.
            InputError, StateError: what is there must not be replaced, or another process is
            writing there.
            StorageError: writing failed; what was there is still there.
        """


class ArtifactSink(Sink):
    """One ZIP."""

    def write(
        self, members: Sequence[Member], *, workers: int, progress: Callable[[int], None]
    ) -> str:
        """See `Sink.write`."""
        return write_artifact(self.path, members, workers=workers, progress=progress)


class DirectorySink(Sink):
    """An image directory."""

    def write(
        self, members: Sequence[Member], *, workers: int, progress: Callable[[int], None]
    ) -> None:
        """See `Sink.write`; one thread writes as fast as the disk."""
        del workers
        write_directory(self.path, members, progress=progress)
