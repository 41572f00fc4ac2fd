"""The differences between two images, computed from their tables; nothing is unpacked."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from otabuild.comparison.diff_entries import Aspect, EntryChange, diff_entries, joined
from otabuild.errors import InputError, OtabuildError, StorageError
from otabuild.format import annotations as ann
from otabuild.format.digest import Reading
from otabuild.format.index import Index, payload_id
from otabuild.format.index_jwt import parse_index_jwt
from otabuild.format.times import utc
from otabuild.image.image import Image, Payload
from otabuild.packages.installed import SYSTEM_TYPES, PackageType
from otabuild.packages.survey import Inventory, read_inventory
from otabuild.packages.versions import order_key
from otabuild.signing.certificates import token_certificates

PackageKind = Literal["added", "removed", "upgraded", "downgraded"]
OnError = Callable[[str, OtabuildError], None]
Versions = Mapping[str, tuple[str, ...]]
"""Versions by name; with dpkg, `name:architecture` if several architectures can be installed
together."""


class PackageChange(NamedTuple):
    """A package that was added, removed or changed its version.

    Several versions of a name are joined by commas.
    """

    name: str
    kind: PackageKind
    before: str | None
    after: str | None

    def to_value(self) -> dict[str, str]:
        """Return the change as plain JSON values."""
        return {name: value for name, value in self._asdict().items() if value is not None}


@dataclass(frozen=True, slots=True)
class PayloadDiff:
    """The differences in one payload.

    Attributes:
        name: ECU and release key, such as `main/dev`.
        kind: whether both images have the payload.
        metadata: annotations, labels (including counts of the rootfs) and other fields of manifest
            and config.
        sys_config: the lines of a unified diff.
        entries: in path order; empty if only one image has the payload.
        packages: sorted by name; a package of a programming language is named `TYPE:NAME`, such as
            `npm:left-pad`.
        new_licenses: licences that no package of the first image has, sorted.
        new_unpackaged: files that belong to no package, and did not exist so in the first image, in
            path order.
        system: what differs of kernel and BSP.
        rootfs_size: bytes of all regular files before and after; None without a payload or label.
        notes: what could not be compared.
        has_packages: whether at least one of the two has a package.
    """

    name: str
    kind: Literal["added", "removed", "changed", "same"]
    metadata: tuple[Aspect, ...] = ()
    sys_config: tuple[str, ...] = ()
    entries: tuple[EntryChange, ...] = ()
    packages: tuple[PackageChange, ...] = ()
    new_licenses: tuple[str, ...] = ()
    new_unpackaged: tuple[str, ...] = ()
    system: tuple[Aspect, ...] = ()
    rootfs_size: tuple[int | None, int | None] = (None, None)
    notes: tuple[str, ...] = ()
    has_packages: bool = True

    def count(self, kind: str) -> int:
        """Return how many entries were `added`, `removed` or `changed`."""
        return sum(entry.kind == kind for entry in self.entries)

    @property
    def downgraded(self) -> tuple[PackageChange, ...]:
        """The packages that are older than before: seldom meant, and a way back to known faults."""
        return tuple(package for package in self.packages if package.kind == "downgraded")

    def to_value(self) -> dict[str, Any]:
        """Return the difference as plain JSON values."""
        return {
            "payload": self.name,
            "change": self.kind,
            "rootfs-size": list(self.rootfs_size),
            "metadata": [aspect.to_value() for aspect in self.metadata],
            "sys-config": list(self.sys_config),
            "packages": [package.to_value() for package in self.packages],
            "new-licenses": list(self.new_licenses),
            "new-unpackaged": list(self.new_unpackaged),
            "system": [aspect.to_value() for aspect in self.system],
            "entries": [entry.to_value() for entry in self.entries],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Diff:
    """The differences between two images.

    Attributes:
        before: the path of the first image.
        after: the path of the second image.
        annotations: the annotations of index.json.
        blobs_size: bytes of all blobs before and after, according to index.json.
        payloads: every file-based payload of either image, sorted by name.
        signature: what differs of signer and certificate, as the signatures claim; only
            verification checks them.
        not_compared: what else the two images have, sorted.
    """

    before: str
    after: str
    annotations: tuple[Aspect, ...]
    blobs_size: tuple[int | None, int | None]
    payloads: tuple[PayloadDiff, ...]
    not_compared: tuple[str, ...] = ()
    signature: tuple[Aspect, ...] = ()

    def to_value(self) -> dict[str, Any]:
        """Return the difference as plain JSON values."""
        return {
            "before": self.before,
            "after": self.after,
            "blobs-size": list(self.blobs_size),
            "annotations": [aspect.to_value() for aspect in self.annotations],
            "signature": [aspect.to_value() for aspect in self.signature],
            "payloads": [payload.to_value() for payload in self.payloads],
            "not-compared": list(self.not_compared),
        }


def diff(
    before: Image, after: Image, ecu_id: str | None = None, on_error: OnError | None = None
) -> Diff:
    """Compare two images payload by payload.

    Args:
        before: the older image.
        after: the newer one.
        ecu_id: the ECU whose payloads to compare; None for all.
        on_error: receives the name of a payload that cannot be compared, and why; without it, the
            error is raised.

    Raises:
        InputError: neither image has a payload for that ECU.
        OtabuildError: one of the images is invalid.
    """
    old_payloads, new_payloads = _payloads_for(before, ecu_id), _payloads_for(after, ecu_id)
    names = sorted(old_payloads.keys() | new_payloads.keys())
    if ecu_id is not None and not names:
        ecus = sorted({payload.ecu for payload in (*before.payloads, *after.payloads)})
        raise InputError(
            "neither image has a payload for this ECU", observed=ecu_id, expected=", ".join(ecus)
        )
    rootfs, payloads = _RootfsDiffs(), list[PayloadDiff]()
    for name in names:
        try:
            payloads.append(
                _diff_payload(name, old_payloads.get(name), new_payloads.get(name), rootfs)
            )
        except OtabuildError as error:
            if on_error is None or isinstance(error, StorageError):
                raise
            on_error(name, error)
    old, new = (image.index.annotations for image in (before, after))
    return Diff(
        before.path,
        after.path,
        _aspects(old, new),
        (old.get(ann.BLOBS_SIZE), new.get(ann.BLOBS_SIZE)),
        tuple(payloads),
        tuple(sorted({*_others(before.index), *_others(after.index)})),
        _aspects(_signature(before), _signature(after)),
    )


def _payloads_for(image: Image, ecu_id: str | None) -> dict[str, Payload]:
    return {payload.name: payload for payload in image.payloads if ecu_id in (None, payload.ecu)}


def _signature(image: Image) -> dict[str, object]:
    """Return what the signature of an image claims about its signer; nothing if unreadable."""
    try:
        signer = token_certificates(parse_index_jwt(image.token_raw or b"", compat=True))[0]
    except OtabuildError:
        return {}
    return {
        "signer": signer.subject,
        "certificate": signer.fingerprint,
        "valid until": utc(signer.not_after),
    }


def _others(index: Index) -> Iterator[str]:
    yield from (
        f"partition-based payload {'/'.join(payload_id(found))}"
        for found in index.partition_payloads
    )
    if index.otaclient_package is not None:
        yield "otaclient package"
    if index.update_agent is not None:
        yield "update agent package"
    yield from (f"entry of unknown type {found.media_type}" for found in index.unknown)


class _RootfsDiffs:
    """Compares entries and packages of pairs of file tables; several payloads can share a pair."""

    def __init__(self) -> None:
        self._known: dict[tuple[Reading, Reading], PayloadDiff] = {}

    def of(self, before: Payload, after: Payload) -> PayloadDiff:
        pair = before.manifest.file_table.reading, after.manifest.file_table.reading
        if pair[0] == pair[1]:
            return PayloadDiff("", "same")
        if pair not in self._known:
            old, new = list(before.entries()), list(after.entries())
            entries = diff_entries(old, new)
            found = _diff_inventories(read_inventory(before, old), read_inventory(after, new))
            self._known[pair] = replace(found, entries=entries)
        return self._known[pair]


def _diff_payload(
    name: str, before: Payload | None, after: Payload | None, rootfs: _RootfsDiffs
) -> PayloadDiff:
    sizes = _rootfs_size(before), _rootfs_size(after)
    if before is None or after is None:
        return PayloadDiff(name, "added" if before is None else "removed", rootfs_size=sizes)
    metadata = _aspects(_metadata(before), _metadata(after))
    sys_config = tuple(_diff_text(before.sys_config, after.sys_config))
    found = rootfs.of(before, after)
    bsp = _aspects(_bsp(before), _bsp(after))
    return replace(
        found,
        name=name,
        kind="changed" if metadata or sys_config or found.entries else "same",
        metadata=metadata,
        sys_config=sys_config,
        system=(*bsp, *found.system),
        rootfs_size=sizes,
    )


def _bsp(payload: Payload) -> dict[str, object]:
    labels = payload.config.labels
    return {"BSP version": labels[ann.BSP_VERSION]} if ann.BSP_VERSION in labels else {}


def _rootfs_size(payload: Payload | None) -> int | None:
    return None if payload is None else payload.config.labels.get(ann.ROOTFS_SIZE)


def _metadata(payload: Payload) -> dict[str, object]:
    """Return what documents of a payload say, without the parts that are compared by themselves."""
    config = payload.config.to_value()
    fields = {
        f"config: {key}": value for key, value in config.items() if not isinstance(value, dict)
    }
    labels = {f"label: {key}": value for key, value in payload.config.labels.items()}
    return {
        **(payload.descriptor.annotations or {}),
        **payload.manifest.annotations,
        **fields,
        **labels,
    }


def _aspects(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[Aspect, ...]:
    def said(side: Mapping[str, object], key: str) -> str | None:
        return str(side[key]) if key in side else None

    keys = sorted(before.keys() | after.keys())
    differing = [key for key in keys if before.get(key) != after.get(key)]
    return tuple(Aspect(key, said(before, key), said(after, key)) for key in differing)


def _diff_text(before: bytes | None, after: bytes | None) -> Iterable[str]:
    if before == after:
        return ()
    (old, old_name), (new, new_name) = _lines(before), _lines(after)
    found = list(difflib.unified_diff(old, new, old_name, new_name, lineterm="", n=2))
    return found or ("(differs in line endings only)",)


def _lines(sys_config: bytes | None) -> tuple[list[str], str]:
    """Return the lines of a sys_config, and its name in a diff."""
    if sys_config is None:
        return [], "/dev/null"
    return sys_config.decode("utf-8", "replace").splitlines(), "sys_config"


def _diff_inventories(before: Inventory, after: Inventory) -> PayloadDiff:
    """Compare what is installed; of a kind of package unreadable on one side, say just that."""
    notes = (*before.notes, *after.notes)
    unread = {note.type for note in notes}
    types = {package.type for package in (*before.packages, *after.packages)}
    changes: list[PackageChange] = []
    for type_ in types - unread:
        changes += diff_packages(type_, _versions(before, type_), _versions(after, type_))
    return PayloadDiff(
        "",
        "changed",
        packages=tuple(sorted(changes)),
        new_licenses=tuple(sorted(_licenses(after) - _licenses(before))),
        new_unpackaged=() if unread or not types else _new(before.unpackaged, after.unpackaged),
        system=_aspects(_kernel(before), _kernel(after)),
        notes=tuple(dict.fromkeys(note.why for note in notes)),
        has_packages=bool(types),
    )


def _licenses(inventory: Inventory) -> set[str]:
    return {text for package in inventory.maintained for text in package.licenses}


def _kernel(inventory: Inventory) -> dict[str, object]:
    return {"kernel": ", ".join(inventory.kernels)} if inventory.kernels else {}


def _new(before: Iterable[str], after: Iterable[str]) -> tuple[str, ...]:
    known = set(before)
    return tuple(path for path in after if path not in known)


def _versions(inventory: Inventory, type_: PackageType) -> Versions:
    """Return the versions of a kind of package; several of one name can be installed."""
    found: dict[str, set[str]] = {}
    for package in inventory.maintained:
        if package.type == type_:
            name = package.label if type_ in SYSTEM_TYPES else f"{type_}:{package.label}"
            found.setdefault(name, set()).add(package.version)
    return {name: tuple(sorted(versions)) for name, versions in found.items()}


def diff_packages(
    type_: PackageType, before: Versions, after: Versions
) -> tuple[PackageChange, ...]:
    """Return the packages of a kind that differ, sorted by name."""
    changes: list[PackageChange] = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old != new:
            changes.append(PackageChange(name, _kind(type_, old, new), joined(old), joined(new)))
    return tuple(changes)


def _kind(
    type_: PackageType, old: tuple[str, ...] | None, new: tuple[str, ...] | None
) -> PackageKind:
    """Return what became of a package that differs; of several versions, the newest counts."""
    if old is None:
        return "added"
    if new is None:
        return "removed"
    old_newest, new_newest = (
        max(order_key(type_, version) for version in side) for side in (old, new)
    )
    return "downgraded" if new_newest < old_newest else "upgraded"
