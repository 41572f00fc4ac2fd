"""A container image as a source: an OCI layout or an archive made by `docker save`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Literal

from otabuild.rootfs.container_files import ArchiveFiles, DirectoryFiles
from otabuild.rootfs.docker_archive import docker_layers
from otabuild.rootfs.entry import Entry
from otabuild.rootfs.layers import Layer, apply_layers, read_layer
from otabuild.rootfs.oci import oci_layers
from otabuild.rootfs.tar_source import TarSource
from otabuild.storage.files import write_file


class ImageSource:
    """A container image.

    Args:
        kind: an OCI layout (a directory or a tar of it), or an archive made by `docker save`.
        location: its path.
        reference: tag or digest (OCI), or name and tag (docker); None if it contains only one
            image.
        platform: which image of a multi-platform index, such as `linux/arm64` (OCI only).
        architecture: the architecture that the image must have, or None.
        work: a folder of the work directory for the indexes of its layers.
    """

    def __init__(
        self,
        kind: Literal["oci", "docker-archive"],
        location: str,
        *,
        reference: str | None,
        platform: str | None,
        architecture: str | None,
        work: str,
    ) -> None:
        self._kind, self._location = kind, location
        self._reference, self._platform = reference, platform
        self._architecture = architecture
        self._work = work
        # An image is never standard input, which cannot be read twice.
        path = "./-" if location == "-" else location
        self._archive = None if os.path.isdir(location) else TarSource(path, work)
        key = hashlib.sha256(
            repr((kind, os.path.abspath(location), reference, platform)).encode("utf-8", "replace")
        )
        self._used_path = os.path.join(work, "layers", f"{key.hexdigest()}.used")

    def fingerprint(self) -> str:
        """Return the digests of the layers or, for an archive, what shows that it is unchanged.

        Raises:
            InputError: the image cannot be read, or the reference matches none or several images.
        """
        if self._archive is None:
            return ",".join(f"{layer.digest} {layer.diff_id}" for layer in self._layers())
        return self._archive.fingerprint()

    def entries(self) -> Iterator[Entry]:
        """Yield every entry in path order.

        Raises:
            InputError: the image is damaged or hostile.
        """
        indexes = [read_layer(layer, self._work) for layer in self._layers()]
        write_file(self._used_path, json.dumps([index.name for index in indexes]).encode())
        yield from apply_layers(indexes)

    def holders(self, path: str) -> Iterator[str]:
        """Yield each layer that has an entry at a path."""
        for layer in self._layers():
            if any(entry.path == path for entry in read_layer(layer, self._work).read()):
                yield layer.where

    def _layers(self) -> list[Layer]:
        if self._archive is None:
            return oci_layers(
                DirectoryFiles(self._location), self._reference, self._platform, self._architecture
            )
        files = ArchiveFiles(self._location, self._archive)
        if self._kind == "oci":
            return oci_layers(files, self._reference, self._platform, self._architecture)
        return docker_layers(files, self._reference, self._architecture)
