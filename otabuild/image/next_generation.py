"""Partition-based payloads and update agent packages: read and verified, never deployed."""

from __future__ import annotations

from otabuild.errors import FormatError
from otabuild.format import limits
from otabuild.format.digest import Descriptor
from otabuild.format.index import payload_id
from otabuild.format.partition import (
    PartitionConfig,
    PartitionManifest,
    UpdateAgentManifest,
    uncompressed,
)
from otabuild.image.blobs import verified
from otabuild.image.image import Image
from otabuild.storage.zstd import decompress


def partition_name(descriptor: Descriptor) -> str:
    """Return ECU and release key of a partition-based payload, for messages."""
    return "/".join(payload_id(descriptor))


def read_partition_payload(image: Image, descriptor: Descriptor) -> PartitionManifest:
    """Read the documents of a partition-based payload, and check that they agree.

    Raises:
        FormatError: one of them does not follow the format, or they contradict each other or
            index.json.
        IntegrityError, LimitError: a blob is missing, damaged or too large.
    """
    name = partition_name(descriptor)
    manifest = PartitionManifest.from_json(
        image.blobs.read(descriptor, limits.DOCUMENT), f"manifest of {name}"
    )
    for key, value in (descriptor.annotations or {}).items():
        if manifest.annotations.get(key, value) != value:
            what = f"{key} differs from index.json"
            raise FormatError(
                what,
                where=f"manifest of {name}",
                observed=manifest.annotations[key],
                expected=value,
            )
    where = f"config of {name}"
    PartitionConfig.from_json(image.blobs.read(manifest.config, limits.DOCUMENT), where).check(
        manifest, where
    )
    return manifest


def read_update_agent(image: Image, descriptor: Descriptor) -> UpdateAgentManifest:
    """Read the manifest of an update agent package; raises as `read_partition_payload`."""
    return UpdateAgentManifest.from_json(
        image.blobs.read(descriptor, limits.DOCUMENT), "update agent package"
    )


def check_layer(image: Image, layer: Descriptor) -> None:
    """Read a layer to its end: this checks its size and digest, and its content's if compressed.

    Raises:
        IntegrityError: the blob is missing or damaged, or its content is not what the annotations
            say.
        FormatError: the annotations of a compressed layer do not describe its content.
    """
    chunks = image.blobs.stream(layer.digest, layer.size)
    content = uncompressed(layer)
    if content is not None:
        frame = decompress(chunks, content.size, limits.FILE, layer.digest_text)
        chunks = verified(frame, content.digest, content.size, f"content of {layer.digest_text}")
    for _chunk in chunks:
        pass
