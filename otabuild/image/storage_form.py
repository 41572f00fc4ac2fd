"""The storage forms of the contents of a payload, and the blobs that each content needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from otabuild.format.digest import Blob, Descriptor, blob_name
from otabuild.format.filters import Compressed
from otabuild.image.image import Payload
from otabuild.image.resources import Plan, ResourceTable

Form = Literal["bundled", "compressed", "sliced", "plain"]


@dataclass(frozen=True, slots=True)
class StorageForm:
    """A content in the resource table.

    Attributes:
        digest: 32 bytes.
        size: bytes of the content.
        form: the last step that made it; `plain` is a blob of its own without any step.
        leaves: the distinct blobs needed to make it.
        bundle_size: bytes of the bundle that it is cut from; 0 without a bundle.
    """

    digest: bytes
    size: int
    form: Form
    leaves: tuple[Blob, ...]
    bundle_size: int = 0


def documents_and_tables(payload: Payload) -> tuple[dict[str, int], dict[str, int]]:
    """Return sizes in bytes of what a device reads besides contents: documents and both tables."""
    image, manifest, config = payload.image, payload.manifest, payload.config.sys_config
    documents = {"index.json": len(image.index_raw)}
    if image.token_raw is not None:
        documents["index.jwt"] = len(image.token_raw)
    described = (payload.descriptor, manifest.config, *([] if config is None else [config]))
    tables = (manifest.file_table, image.index.resource_table)
    return documents | _sizes(described), _sizes(tables)


def _sizes(descriptors: Iterable[Descriptor]) -> dict[str, int]:
    return {blob_name(descriptor.digest): descriptor.size for descriptor in descriptors}


def stored_contents(
    resources: ResourceTable, wanted: Mapping[bytes, object]
) -> Iterator[StorageForm]:
    """Yield the wanted contents (keys are digests) that are in the resource table.

    Raises:
        FilterError, LimitError: one of them cannot be resolved.
    """
    for group in resources.groups(lambda row: True if row.digest in wanted else None):
        shared = () if group.bundle is None else tuple(dict.fromkeys(group.bundle.leaves))
        for member in group.members:
            row, plan = member.row, member.plan
            if plan is None:
                yield StorageForm(row.digest, row.size, "bundled", shared, group.bundle_size)
            else:
                yield StorageForm(
                    row.digest, row.size, _form(plan), tuple(dict.fromkeys(plan.leaves))
                )


def _form(plan: Plan) -> Form:
    if len(plan.leaves) > 1:
        return "sliced"
    is_compressed = any(isinstance(step.filter, Compressed) for step in plan.steps)
    return "compressed" if is_compressed else "plain"


def shares(contents: Iterable[StorageForm]) -> dict[bytes, float]:
    """Return each content's share of the bytes of blobs, by digest.

    A blob is divided among the contents that need it, in proportion to their sizes. All shares add
    up to the blobs. An empty content, which only a malformed table stores, has no share.
    """
    contents = tuple(contents)
    sharers: Counter[bytes] = Counter()
    for content in contents:
        sharers.update(dict.fromkeys((digest for digest, _ in content.leaves), content.size))

    def share(content: StorageForm) -> float:
        return sum(size * content.size / (sharers[leaf] or 1) for leaf, size in content.leaves)

    return {content.digest: share(content) for content in contents}
