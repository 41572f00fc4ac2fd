"""The cost of an update for a device: how much it downloads, in how many requests, into what space.

A device with the base reuses every content that both payloads have, by digest. For each other
content it fetches the whole blobs that it is made of: one changed member of a bundle requires the
whole bundle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otabuild.errors import FilterError, InputError
from otabuild.format.digest import format_digest
from otabuild.format.sizes import counted, human_size
from otabuild.image.image import Image, Payload
from otabuild.image.storage_form import StorageForm, documents_and_tables, shares, stored_contents
from otabuild.image.tables import REGULARS

MOST = 20
# An inode without links_count is a file for each of its paths: so clients write it (section 12).
_BLOCKS = """coalesce(sum((size + 4095) / 4096 * 4096), 0) FROM
    (SELECT resource_id FROM ft_regular JOIN ft_inode USING (inode_id)
    GROUP BY inode_id, resource_id, CASE WHEN links_count IS NULL THEN path END)
    JOIN ft_resource USING (resource_id)"""


@dataclass(frozen=True, slots=True)
class FileCost:
    """A changed content and its part of the download.

    Attributes:
        paths: its paths in the payload.
        size: bytes of the content.
        download: its share of the blobs that it needs, in bytes; see `storage_form.shares`.
        why: how it is stored, and what else that makes the device fetch.
    """

    paths: tuple[str, ...]
    size: int
    download: int
    why: str

    def to_value(self) -> dict[str, Any]:
        """Return the cost as plain JSON values."""
        return {
            "paths": list(self.paths),
            "size": self.size,
            "download": self.download,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of updating one payload on a device, or all of a release key; sizes in bytes.

    Attributes:
        resources: distinct contents of the new payload that are stored as resources.
        changed: how many of them are not in the base.
        changed_bytes: their size.
        requests: blobs to fetch for them.
        download: bytes of those blobs.
        metadata: stored bytes of file table and resource table.
        documents: bytes of index.json, index.jwt, manifest, config and sys_config.
        document_requests: requests for tables and documents.
        full_download: the value of `download` without a base.
        peak_disk: space on the device during the update: the new rootfs (each inode once, in blocks
            of 4 KiB) and everything that was fetched, in case the client keeps it to the end.
        files: the contents with the highest cost.
    """

    resources: int
    changed: int
    changed_bytes: int
    requests: int
    download: int
    metadata: int
    documents: int
    document_requests: int
    full_download: int
    peak_disk: int
    files: tuple[FileCost, ...]

    @property
    def total(self) -> int:
        """All bytes that the device fetches."""
        return self.download + self.metadata + self.documents

    @property
    def total_requests(self) -> int:
        """All requests that the device makes, one for each blob and document."""
        return self.requests + self.document_requests

    def to_value(self) -> dict[str, Any]:
        """Return the cost as plain JSON values."""
        own = {
            name.replace("_", "-"): getattr(self, name)
            for name in self.__slots__
            if name != "files"
        }
        return {
            **own,
            "total": self.total,
            "total-requests": self.total_requests,
            "files": [file.to_value() for file in self.files],
        }


def cost(base: Image, new: Image, ecu_id: str | None = None, release_key: str = "dev") -> Cost:
    """Return what a device with `base` fetches to update to `new`.

    Tables are fetched at every update, even if only the signature changed: field clients do so.

    Args:
        base: the image that the device runs.
        new: the image to update to.
        ecu_id: the ECU; None for all of them together, which fetch a blob once. One that the base
            lacks fetches all.
        release_key: `dev` or `prd`.

    Raises:
        InputError: one of the images does not have such a payload.
        FilterError, LimitError: a content of the new payload cannot be resolved.
        OtabuildError: one of the images is invalid.
    """
    updates = _updates(base, new, ecu_id, release_key)
    wanted: dict[bytes, int] = {}
    lacking: set[bytes] = set()
    documents: dict[str, int] = {}
    tables: dict[str, int] = {}
    for before, after in updates:
        contents = after.contents()
        wanted |= contents
        lacking |= contents.keys() - (before.contents().keys() if before else set())
        its_documents, its_tables = documents_and_tables(after)
        documents |= its_documents
        tables |= its_tables
    found = _resolved(new, wanted)
    changed = [content for content in found if content.digest in lacking]
    leaves = {leaf for content in changed for leaf in content.leaves}
    all_leaves = {leaf for content in found for leaf in content.leaves}
    fetched = sum(size for _, size in leaves) + sum(tables.values()) + sum(documents.values())
    return Cost(
        resources=len(wanted),
        changed=len(changed),
        changed_bytes=sum(content.size for content in changed),
        requests=len(leaves),
        download=sum(size for _, size in leaves),
        metadata=sum(tables.values()),
        documents=sum(documents.values()),
        document_requests=len(documents) + len(tables),
        full_download=sum(size for _, size in all_leaves),
        peak_disk=sum(after.file_table.count(_BLOCKS) for _, after in updates) + fetched,
        files=_most_costly([after for _, after in updates], changed),
    )


def _updates(
    base: Image, new: Image, ecu_id: str | None, release_key: str
) -> list[tuple[Payload | None, Payload]]:
    """Return the payloads that are compared, the one of the base first."""
    if ecu_id is not None:
        return [(base.payload(ecu_id, release_key), new.payload(ecu_id, release_key))]
    held = {payload.ecu: payload for payload in base.payloads if payload.release_key == release_key}
    found = [
        (held.get(after.ecu), after) for after in new.payloads if after.release_key == release_key
    ]
    if not found:
        raise InputError("no payload with this release key", where=new.path, observed=release_key)
    return found


def _resolved(image: Image, wanted: Mapping[bytes, int]) -> tuple[StorageForm, ...]:
    found = tuple(stored_contents(image.resources, wanted))
    missing = wanted.keys() - {content.digest for content in found}
    if missing:
        raise FilterError(
            "contents of the payload are not in the resource table",
            where=image.path,
            observed=f"{len(missing)}, such as {format_digest(min(missing))}",
        )
    return found


def _most_costly(
    payloads: Sequence[Payload], changed: Sequence[StorageForm]
) -> tuple[FileCost, ...]:
    share = shares(changed)
    users = Counter(digest for content in changed for digest, _ in content.leaves)
    most = sorted(changed, key=lambda content: (-share[content.digest], content.digest))[:MOST]
    return tuple(
        FileCost(_paths(payloads, c.digest), c.size, round(share[c.digest]), _why(c, users))
        for c in most
    )


def _paths(payloads: Iterable[Payload], digest: bytes) -> tuple[str, ...]:
    """Return the paths of a content in the first of the payloads that has it."""
    for payload in payloads:
        found = payload.file_table.select(REGULARS, "WHERE digest = ? ORDER BY path", (digest,))
        if paths := tuple(entry.path for entry in found):
            return paths
    return ()


def _why(content: StorageForm, users: Counter[bytes]) -> str:
    stored = human_size(sum(size for _, size in content.leaves))
    if content.form != "bundled":
        words = {
            "plain": "stored unchanged",
            "compressed": "compressed",
            "sliced": counted(len(content.leaves), "slice"),
        }
        return f"{words[content.form]}, {stored}"
    others = max(users[digest] for digest, _ in content.leaves) - 1
    company = (
        f", together with {counted(others, 'other changed file')}" if others else ", all by itself"
    )
    blob = content.leaves[0][0].hex()[:12]
    return f"drags in bundle {blob} of {human_size(content.bundle_size)} ({stored} stored){company}"
