"""Selects an image, and its layers, in an archive made by `docker save`."""

from __future__ import annotations

import re
from typing import Any

from otabuild.errors import InputError
from otabuild.rootfs.container_files import ArchiveFiles, MissingFileError, field, read_document
from otabuild.rootfs.layers import Layer
from otabuild.rootfs.oci import image_layers

_NAMED_BY_DIGEST = re.compile(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?")


def docker_layers(files: ArchiveFiles, tag: str | None, architecture: str | None) -> list[Layer]:
    """Return the layers of an image, the lowest first.

    `tag` is required if the archive contains several images; `architecture` is what the image must
    have, or None.

    Raises:
        InputError: the archive is damaged, or does not contain exactly one such image.
    """
    try:
        images = read_document(files, "manifest.json")
    except MissingFileError:
        hint = "a root file system in a tar is `source: {tar: …}`"
        raise InputError(
            "not a docker save archive: no manifest.json", where=files.where, hint=hint
        ) from None
    if not isinstance(images, list):
        raise InputError("manifest.json of the archive is not a list", where=files.where)
    found = [
        image for image in images if tag is None or any(_same(tag, name) for name in _tags(image))
    ]
    if len(found) != 1:
        names = sorted({str(name) for image in images for name in _tags(image)})
        raise InputError(
            "the archive contains several images" if found else f"no image {tag or ''}".rstrip(),
            where=files.where,
            observed=", ".join(names)[:1000],
            hint="name the image by its tag, as in name:tag",
        )
    name = field(found[0], "Config", str, files.where)
    # A config whose name is a digest must have it.
    by_digest = _NAMED_BY_DIGEST.fullmatch(name)
    config = read_document(files, name, by_digest and by_digest[1])
    digests = []
    for layer in field(found[0], "Layers", list, files.where):
        # Known since the archive was read, which hashes everything in it.
        digest = files.content(str(layer)).digest
        digests.append((digest.hex() if digest else "", str(layer)))
    return image_layers(files, config, digests, architecture)


def _tags(image: Any) -> list[Any]:
    tags = image.get("RepoTags") if isinstance(image, dict) else None
    return tags if isinstance(tags, list) else []


def _same(tag: str, name: object) -> bool:
    """Whether a tag means a name: docker omits its own registry, other tools write it."""
    short = str(name).removeprefix("docker.io/").removeprefix("library/")
    return tag == name or tag.removeprefix("docker.io/").removeprefix("library/") == short
