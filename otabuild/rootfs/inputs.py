"""The inputs of a rootfs as a recipe names them: place, owner of the entries, how to open each.

A new kind of input is a class here, the `RootfsSource` that it opens, and the model of its keys in
`recipe/sources`. Sources are imported when they are opened: a run with nothing to do loads little.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from otabuild.rootfs import transforms
from otabuild.rootfs.entry import Entry
from otabuild.rootfs.source import RootfsSource

Owner = tuple[int, int] | None
"""(uid, gid) for every entry, or None to keep the owners of the input."""


class Opening(NamedTuple):
    """What a source needs to know about the scan that opens it.

    Attributes:
        work: the folder with the indexes of archives.
        one_file_system: whether a mount inside a directory is an error.
        prune: whether everything below a path will be dropped; it need not be read.
        drop: whether a path and everything below it will be dropped.
        denied: collects (host directory, path) of what permissions do not allow to read; None makes
            that an error.
    """

    work: str
    one_file_system: bool
    prune: Callable[[str], bool]
    drop: Callable[[str], bool]
    denied: set[tuple[str, str]] | None


@dataclass(frozen=True)
class Input(ABC):
    """An input: its place on the host, the owner of its entries.

    Its `repr` is part of the key of a scan.
    """

    location: str
    owner: Owner = None

    @abstractmethod
    def opened(self, opening: Opening) -> RootfsSource:
        """Return the source of the entries; nothing is read yet."""

    def checked(self, entries: Iterator[Entry], euid: int) -> Iterator[Entry]:
        """Return the entries, refusing those not meant; `euid` is the build's effective user."""
        del euid  # only a directory has the owners of this machine
        return entries

    def changed_at(self) -> int:
        """Return when an archive last changed, in Unix nanoseconds; 0 for what is walked."""
        if not os.path.isfile(self.location):
            return 0
        state = os.stat(self.location)
        return max(state.st_mtime_ns, state.st_ctime_ns)


class DirectoryInput(Input):
    """A directory tree; each of its entries has times of its own."""

    def opened(self, opening: Opening) -> RootfsSource:
        """See `Input.opened`."""
        from otabuild.rootfs.directory import DirectorySource

        return DirectorySource(
            self.location,
            one_file_system=opening.one_file_system,
            prune=opening.prune,
            drop=opening.drop,
            denied=opening.denied,
        )

    def checked(self, entries: Iterator[Entry], euid: int) -> Iterator[Entry]:
        """Refuse a container image, and a tree that an ordinary user owns."""
        entries = transforms.no_container_image(entries, where=self.location)
        if self.owner is None:
            return transforms.check_owner(entries, euid=euid, where=self.location)
        return entries


class TarInput(Input):
    """A tar archive, or `-` for standard input."""

    def opened(self, opening: Opening) -> RootfsSource:
        """See `Input.opened`."""
        from otabuild.rootfs.tar_source import TarSource

        return TarSource(self.location, opening.work)

    def checked(self, entries: Iterator[Entry], euid: int) -> Iterator[Entry]:
        """Refuse a container image."""
        del euid
        return transforms.no_container_image(entries, where=self.location)


@dataclass(frozen=True)
class OciInput(Input):
    """An image in an OCI layout; see `container_image.ImageSource` for what selects it."""

    reference: str | None = None
    platform: str | None = None
    architecture: str | None = None

    def opened(self, opening: Opening) -> RootfsSource:
        """See `Input.opened`."""
        from otabuild.rootfs.container_image import ImageSource

        return ImageSource(
            "oci",
            self.location,
            reference=self.reference,
            platform=self.platform,
            architecture=self.architecture,
            work=opening.work,
        )


@dataclass(frozen=True)
class DockerArchiveInput(Input):
    """An image in an archive made by `docker save`, named by its tag; None if it has only one."""

    tag: str | None = None
    architecture: str | None = None

    def opened(self, opening: Opening) -> RootfsSource:
        """See `Input.opened`."""
        from otabuild.rootfs.container_image import ImageSource

        return ImageSource(
            "docker-archive",
            self.location,
            reference=self.tag,
            platform=None,
            architecture=self.architecture,
            work=opening.work,
        )
