"""The files of an image, also where they cannot be listed, or are listed for a whole store."""

from __future__ import annotations

from collections.abc import Iterator

from otabuild.format.digest import blob_name
from otabuild.format.index_jwt import NAME
from otabuild.image.image import Image
from otabuild.image.next_generation import read_partition_payload, read_update_agent
from otabuild.image.otaclient_package import legacy_files, read_package


def referenced_blobs(image: Image) -> dict[bytes, int]:
    """Return the size in bytes of every blob that something in the image refers to, by digest.

    Raises:
        OtabuildError: a document or the resource table is missing or invalid.
    """
    index = image.index
    found = {descriptor.digest: descriptor.size for descriptor in index.manifests}
    descriptors = []
    for payload in image.payloads:
        descriptors += [payload.manifest.config, payload.manifest.file_table]
        descriptors += filter(None, [payload.config.sys_config])
    for descriptor in index.partition_payloads:
        partitions = read_partition_payload(image, descriptor)
        descriptors += [partitions.config, *partitions.layers]
    if index.update_agent is not None:
        descriptors += read_update_agent(image, index.update_agent).layers
    if index.otaclient_package is not None:
        package, _ = read_package(image, index.otaclient_package)
        descriptors += [package.config, *package.layers]
    found |= {descriptor.digest: descriptor.size for descriptor in descriptors}
    if index.has_resource_table:
        found |= image.resources.leaves()
    return found


def files_of(image: Image) -> Iterator[tuple[str, int]]:
    """Yield name and size in bytes of every file of the image, listed or known to belong to it.

    Raises:
        OtabuildError: as `referenced_blobs`.
    """
    source = image.source
    if source.lists_files:
        yield from (
            (member.name, member.size)
            for member in source.members()
            if not member.name.endswith("/")
        )
    else:
        for name in ("index.json", NAME, "oci-layout"):
            if (size := source.size(name)) is not None:
                yield name, size
        package = image.index.otaclient_package
        yield from legacy_files(image, None if package is None else read_package(image, package)[1])
    if not source.lists_blobs:
        yield from ((blob_name(digest), size) for digest, size in referenced_blobs(image).items())
