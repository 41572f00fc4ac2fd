"""Outputs of the commands that compare images, and of those about releases in a store."""

from __future__ import annotations

from typing import Any, Literal

from otabuild.outputs.shape import (
    ABSENT,
    AspectValue,
    Bytes,
    Count,
    Digest,
    EntryValue,
    ImagePath,
    Output,
    Path,
    ReaderOutput,
    Sha256,
    Shape,
    Time,
)


class PackageChangeValue(Shape):
    """A package that differs."""

    name: str
    """Its name; of a programming language, `TYPE:NAME`."""
    kind: Literal["added", "removed", "upgraded", "downgraded"]
    """How it differs."""
    before: str = ABSENT
    """Its version in the first image, if it is there."""
    after: str = ABSENT
    """Its version in the second image, if it is there."""


class EntryChangeValue(Shape):
    """A path that differs."""

    path: Path
    """In the rootfs, absolute."""
    change: Literal["added", "removed", "changed"]
    """How it differs."""
    before: EntryValue = ABSENT
    """The entry in the first image, if it is there."""
    after: EntryValue = ABSENT
    """The entry in the second image, if it is there."""
    differs_in: list[AspectValue] = ABSENT
    """How it changed."""


class PayloadDiffValue(Shape):
    """The differences in one payload."""

    payload: str
    """ECU id and release key, such as `main/dev`."""
    change: Literal["added", "removed", "changed", "same"]
    """How it differs."""
    rootfs_size: list[Bytes | None]
    """All regular files, before and after."""
    metadata: list[AspectValue]
    """What differs in manifest and config."""
    sys_config: list[str]
    """Lines of a unified diff."""
    packages: list[PackageChangeValue]
    """Packages that differ, by name."""
    new_licenses: list[str]
    """Licences that no package of the first image has."""
    new_unpackaged: list[Path]
    """Files that belong to no package, and did not exist so in the first image."""
    system: list[AspectValue]
    """What differs of kernel and BSP."""
    entries: list[EntryChangeValue]
    """Paths that differ, in path order."""
    notes: list[str]
    """What could not be compared."""


class DiffOutput(ReaderOutput):
    """The differences between two images."""

    before: ImagePath
    """The first image."""
    after: ImagePath
    """The second image."""
    blobs_size: list[Bytes | None]
    """All stored blobs, before and after, by index.json."""
    annotations: list[AspectValue]
    """What differs in the annotations of index.json."""
    signature: list[AspectValue]
    """What differs of signer and certificate; not verified."""
    payloads: list[PayloadDiffValue]
    """Every payload of either image."""
    not_compared: list[str]
    """What else the two images have."""


class FileCostValue(Shape):
    """A content that a device fetches."""

    paths: list[Path]
    """Where it is in the payload."""
    size: Bytes
    """Its size."""
    download: Bytes
    """Its share of the blobs that it needs."""
    why: str
    """How it is stored, and what else makes the device fetch."""


class CostOutput(ReaderOutput):
    """What a device fetches; `ok` is false if that is more than `--max-download`."""

    base: ImagePath
    """The image that the device runs."""
    new: ImagePath
    """The image to update to."""
    ecu: str | None
    """The ECU id; null: all together."""
    release_key: Literal["dev", "prd"]
    """The release key."""
    resources: Count
    """Distinct contents of the new payload that are stored as resources."""
    changed: Count
    """How many of them are not in the base."""
    changed_bytes: Bytes
    """Their size."""
    requests: Count
    """Blobs to fetch for them."""
    download: Bytes
    """Their size."""
    metadata: Bytes
    """File table and resource table, as stored."""
    documents: Bytes
    """index.json, index.jwt, manifest, config and sys_config."""
    document_requests: Count
    """Requests for tables and documents."""
    full_download: Bytes
    """What `download` would be without a base."""
    peak_disk: Bytes
    """Space on the device during the update, at most."""
    total: Bytes
    """All that is fetched."""
    total_requests: Count
    """All requests."""
    files: list[FileCostValue]
    """The contents with the highest cost."""


class OfflineOutput(ReaderOutput):
    """What was written for devices without a network."""

    folder: Path
    """Where."""
    releases: list[str]
    """Names of the images."""
    files: Count
    """Files in `data/`."""
    bytes: Bytes
    """The size of the blobs among them."""


class ReleaseValue(Shape):
    """Which release it is."""

    name: str
    """Its name."""
    digest: Digest
    """Of its index.json."""


class PublishOutput(ReleaseValue, ReaderOutput):
    """A release that was published."""

    blobs: Count
    """The blobs that it has."""
    size: Bytes
    """Their size."""
    uploaded: Count
    """Those that the store lacked."""
    uploaded_size: Bytes
    """Their size."""
    was_there: bool
    """Whether it was published already, with the same bytes."""
    uploaded_all: bool
    """Whether everything was uploaded because the store cannot be listed."""
    documents: list[str]
    """The ends of the names of the documents about it, such as `.cdx.json`."""


class PullOutput(ReaderOutput):
    """A release that was written as an image."""

    target: Path
    """The artifact or directory."""
    files: Count
    """Its files."""
    size: Bytes
    """Their size."""
    sha256: Sha256 | None
    """Of the artifact; null for a directory."""
    documents: list[Path]
    """The documents about it, which were written beside it."""


class ListedReleaseValue(ReleaseValue):
    """A release in a store; null where its index.json is not there or does not say so."""

    state: Literal["published", "withdrawn", "unfinished", "damaged"]
    """Only a published release is offered."""
    signed: bool
    """Whether it has an index.jwt."""
    claimed: Time
    """When publishing began."""
    published: Time | None
    """When publishing ended."""
    withdrawn: Time | None
    """Since when it is not offered any more."""
    version: str | None
    """As index.json says."""
    platform: str | None
    """As index.json says."""
    blobs: Count | None
    """As index.json says."""
    size: Bytes | None
    """As index.json says."""


class PrunerValue(Shape):
    """Who prunes, or was killed while pruning."""

    id: str
    """For `--remove-pruner`."""
    about: str
    """Who, where, and since when."""


class StoreListOutput(Output):
    """All that is in a store."""

    store: str
    """The store."""
    releases: list[ListedReleaseValue]
    """Its releases, by name."""
    pruners: list[PrunerValue]
    """Who prunes."""
    strangers: list[str]
    """What otabuild did not write."""


class DocumentValue(Shape):
    """A document about a release."""

    name: str
    """Such as `cdx.json`."""
    size: Bytes
    """Of the document."""


class NeedsValue(ListedReleaseValue):
    """A release and what it needs."""

    claimed_blobs: Count
    """The blobs that it claims."""
    claimed_size: Bytes
    """Their size."""
    own_blobs: Count
    """Those that no other release claims."""
    own_size: Bytes
    """Their size."""
    files: list[str]
    """Its files besides blobs."""
    documents: list[DocumentValue]
    """The documents about it."""


class StoreShowOutput(Output):
    """What a release needs."""

    releases: list[NeedsValue]
    """All of that name."""


class DamageValue(Shape):
    """A blob that the store does not give."""

    blob: Sha256
    """Its digest."""
    size: Bytes
    """Its size."""
    what: str
    """What is wrong with it."""
    releases: list[str]
    """The releases that need it."""
    repaired: bool
    """Whether `--repair-from` put it right."""


class BrokenValue(Shape):
    """A release that cannot be read."""

    release: str
    """Its name."""
    what: str
    """What is wrong with it."""


class StoreVerifyOutput(Output):
    """What was found in a store."""

    releases: Count
    """Published releases that were checked."""
    blobs: Count
    """The blobs that they need."""
    size: Bytes
    """Their size."""
    damaged: list[DamageValue]
    """Blobs that are not right, or were not and are repaired."""
    broken: list[BrokenValue]
    """Published releases that cannot be read."""


class StoreWithdrawOutput(Output):
    """Releases that are no longer offered."""

    dry_run: bool
    """Whether this is only what would be done."""
    withdrawn: list[ReleaseValue]
    """The releases."""


class StorePruneOutput(StoreWithdrawOutput):
    """What was removed from a store."""

    removed: list[ReleaseValue]
    """Releases that are gone."""
    kept: Count
    """Claims that still count."""
    blobs: Count
    """Blobs that were deleted."""
    size: Bytes
    """Their size."""


COMMANDS: dict[str, Any] = {
    "cost": CostOutput,
    "diff": DiffOutput,
    "offline": OfflineOutput,
    "publish": PublishOutput,
    "pull": PullOutput,
    "store list": StoreListOutput,
    "store prune": StorePruneOutput,
    "store show": StoreShowOutput,
    "store verify": StoreVerifyOutput,
    "store withdraw": StoreWithdrawOutput,
}
"""What these commands print."""
