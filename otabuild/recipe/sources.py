"""The sources of a rootfs."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, Tag

from otabuild.recipe.fields import (
    Model,
    Oci,
    Owner,
    Path,
    PathOrStdin,
    Platform,
    RefusedError,
    Text,
    one_of,
)
from otabuild.rootfs import inputs


class DirectoryRecipe(Model):
    """A directory tree."""

    directory: Path
    """Folder to read, relative to the recipe."""
    owner: Owner | None = None
    """Owner of every entry of this source; default: the `owner` of the rootfs."""

    @property
    def place(self) -> tuple[str, str]:
        """The key that names the input, and its path."""
        return "directory", self.directory

    def input(self, owner: inputs.Owner, architecture: str) -> inputs.Input:
        """Return what the scan reads.

        `owner` is that of the entries, `architecture` what images must have.
        """
        del architecture  # known only of container images
        return inputs.DirectoryInput(self.directory, owner)


class TarRecipe(Model):
    """A tar archive."""

    tar: PathOrStdin
    """Archive to read (plain, gzip, xz, bzip2 or zstd), relative to the recipe; `-` is standard input."""
    owner: Owner | None = None
    """Owner of every entry of this source; default: the `owner` of the rootfs."""

    @property
    def place(self) -> tuple[str, str]:
        """The key that names the input, and its path."""
        return "tar", self.tar

    def input(self, owner: inputs.Owner, architecture: str) -> inputs.Input:
        """See `DirectoryRecipe.input`."""
        del architecture
        return inputs.TarInput(self.tar, owner)


class OciRecipe(Model):
    """An image in an OCI layout."""

    oci: Oci
    """Layout (a directory or a tar of it) and image: `layout:tag` or `layout@sha256:…`."""
    platform: Platform | None = None
    """Which image of a multi-platform index, such as `linux/arm64`."""
    owner: Owner | None = None
    """Owner of every entry of this source; default: the `owner` of the rootfs."""

    @property
    def place(self) -> tuple[str, str]:
        """The key that names the input, and its path."""
        return "oci", self.oci.layout

    def input(self, owner: inputs.Owner, architecture: str) -> inputs.Input:
        """See `DirectoryRecipe.input`."""
        return inputs.OciInput(
            self.oci.layout, owner, self.oci.reference, self.platform, architecture
        )


class DockerArchiveRecipe(Model):
    """An archive made by `docker save`."""

    docker_archive: Path
    """Archive to read, relative to the recipe."""
    tag: Text | None = None
    """Which image of the archive, such as `vehicle:latest`; required if it contains several."""
    owner: Owner | None = None
    """Owner of every entry of this source; default: the `owner` of the rootfs."""

    @property
    def place(self) -> tuple[str, str]:
        """The key that names the input, and its path."""
        return "docker-archive", self.docker_archive

    def input(self, owner: inputs.Owner, architecture: str) -> inputs.Input:
        """See `DirectoryRecipe.input`."""
        return inputs.DockerArchiveInput(self.docker_archive, owner, self.tag, architecture)


SourceRecipe = Annotated[
    Annotated[DirectoryRecipe, Tag("<directory>")]
    | Annotated[TarRecipe, Tag("<tar>")]
    | Annotated[OciRecipe, Tag("<oci>")]
    | Annotated[DockerArchiveRecipe, Tag("<docker-archive>")],
    one_of("directory", "tar", "oci", "docker-archive"),
]


def _listed(value: object) -> object:
    if isinstance(value, str):
        raise RefusedError(
            "does not say what it is",
            hint=f"write source: {{directory: {value}}}, or tar, oci, docker-archive",
        )
    return [value] if isinstance(value, dict) else value


Sources = Annotated[
    tuple[SourceRecipe, ...],
    Field(min_length=1),
    BeforeValidator(
        _listed,
        json_schema_input_type=SourceRecipe | Annotated[list[SourceRecipe], Field(min_length=1)],
    ),
]
