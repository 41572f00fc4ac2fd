"""Rules about the device that takes an image: its client's memory, firmware, disks, system.

Like those in `lint.py` they know neither images nor recipes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from otabuild.errors import Finding
from otabuild.findings import rule
from otabuild.packages.versions import version_key

MODULES = "*/lib/modules/*/modules.*"
"""A GLOB pattern for the paths that show the versions of kernels, and for others."""
SYSTEM_FOLDERS = ("/etc", "/usr")
"""A rootfs without both is no system."""
_MODULES = re.compile(r"(?:/usr)?/lib/modules/([^/]+)/modules\.(?:dep|order|builtin)")
_MB = 10**6
_CLIENT_MEMORY = (("clients up to 3.14.1", 700 * _MB), ("any client so far", 1280 * _MB))
"""The tmpfs in which clients keep tables; if a client means MiB, there is a little more room."""
_JETSON = re.compile(r"\b(?:jetson|orin|xavier|tegra)", re.IGNORECASE)
_OF_ONE_DEVICE = re.compile(
    r"(?:PART)?UUID=|/dev/disk/by-(?:uuid|partuuid|id|path|diskseq)/|/dev/(?:sd|hd|vd|xvd|nvme|mmcblk)[a-z0-9]",
    re.ASCII,
)

lint_rule = partial(rule, area="lint", severity="warning")
"""Register a rule of lint."""


@dataclass(frozen=True, slots=True)
class MemorySubject:
    """What a client holds in memory for one payload, in bytes.

    Attributes:
        name: the payload.
        tables: stored size and size as a database of each table, by the name of the table.
        package: the size of the client package that it may fetch, or 0.
    """

    name: str
    tables: Mapping[str, tuple[int, int]]
    package: int


@dataclass(frozen=True, slots=True)
class RunningSystem:
    """What a rootfs says of the system in it.

    Attributes:
        distribution: its name; None if it is unknown.
        version: the release of the distribution, or None.
        kernels: the versions of the kernels whose modules are there.
        bsp: the version of the Jetson BSP, or None.
    """

    distribution: str | None
    version: str | None
    kernels: frozenset[str]
    bsp: str | None


@dataclass(frozen=True, slots=True)
class SystemSubject:
    """The system of a payload or rootfs, whether it is for a Jetson, and what devices run now."""

    name: str
    system: RunningSystem
    is_jetson: bool
    base: RunningSystem | None


@dataclass(frozen=True, slots=True)
class FstabSubject:
    """The /etc/fstab of a rootfs."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class WholeSubject:
    """Whether a rootfs is a whole system, or is meant not to be one."""

    name: str
    is_whole: bool


def kernels_of(paths: Iterable[str]) -> frozenset[str]:
    """Return the versions of the kernels whose modules are among paths of a rootfs."""
    return frozenset(found[1] for found in map(_MODULES.fullmatch, paths) if found)


def is_jetson(*facts: object) -> bool:
    """Whether anything that is said of a platform or its hardware means a Jetson."""
    return any(_JETSON.search(str(fact)) for fact in facts)


@lint_rule(
    "client-memory",
    MemorySubject,
    hint="leave out files that devices do not need: what counts is their number, not their size",
)
def check_memory(subject: MemorySubject) -> Iterator[Finding]:
    """Clients keep both tables, stored and opened, and their own package in a file system in
    memory: of 700 MB up to client 3.14.1, of 1,280 MB from 3.14.2. A larger image fails there as
    invalid metadata.
    """
    used = subject.package + sum(stored + opened for stored, opened in subject.tables.values())
    too_small = [(who, room) for who, room in _CLIENT_MEMORY if used > room]
    if too_small:
        who, room = too_small[-1]
        parts = [
            f"{name} {_mb(stored)} + {_mb(opened)}"
            for name, (stored, opened) in subject.tables.items()
        ]
        facts = f"{_mb(used)}: {', '.join(parts)}, client package {_mb(subject.package)}"
        yield Finding(subject.name, f"more than the memory of {who}", facts, f"at most {_mb(room)}")


def _mb(size: int) -> str:
    return f"{size / _MB:,.1f} MB"


@lint_rule(
    "bsp-version",
    SystemSubject,
    hint="take a rootfs of the BSP that is flashed on the devices, with its /etc/nv_tegra_release",
)
def check_bsp(subject: SystemSubject) -> Iterator[Finding]:
    """A Jetson starts a rootfs with the firmware of one BSP version, and an update changes the
    rootfs only.
    """
    ours, base = subject.system.bsp, subject.base
    if base is not None and base.bsp != ours and (ours or base.bsp):
        yield Finding(
            subject.name,
            "the BSP version changes",
            ours or "none",
            base.bsp or "none, as in the base",
        )
    elif ours is None and subject.is_jetson:
        yield Finding(subject.name, "for a Jetson, but without a BSP version")


@lint_rule(
    "older-system",
    SystemSubject,
    hint="make sure that going back is meant, or take the current rootfs",
)
def check_older(subject: SystemSubject) -> Iterator[Finding]:
    """What a newer system wrote to the disk of a device (databases, settings, keys), an older one
    may not read.
    """
    ours, base = subject.system, subject.base
    if base is None:
        return
    if ours.distribution == base.distribution and _is_older(ours.version, base.version):
        yield Finding(
            subject.name,
            f"an older {ours.distribution} than in the base",
            ours.version,
            base.version,
        )
    newest, before = (max(system.kernels, key=version_key, default=None) for system in (ours, base))
    if _is_older(newest, before):
        yield Finding(subject.name, "an older kernel than in the base", newest, before)


def _is_older(ours: str | None, base: str | None) -> bool:
    return ours is not None and base is not None and version_key(ours) < version_key(base)


@lint_rule(
    "fstab-device",
    FstabSubject,
    hint="name the file system by LABEL= or PARTLABEL=, which all devices have",
)
def check_fstab(subject: FstabSubject) -> Iterator[Finding]:
    """An update starts from another partition, and other devices have other disks: neither has this
    UUID or name.
    """
    for line in subject.content.decode("utf-8", "replace").splitlines():
        device, *rest = line.split() or [""]
        if _OF_ONE_DEVICE.match(device):
            place = f" for {rest[0]}" if rest else ""
            yield Finding(
                f"{subject.name}: /etc/fstab", f"names a partition of one device{place}", device
            )


@lint_rule("incomplete-rootfs", WholeSubject, hint="correct the path or the archive of the rootfs")
def check_whole(subject: WholeSubject) -> Iterator[Finding]:
    """Devices replace their whole system by the payload, and this one has neither /etc nor /usr."""
    if not subject.is_whole:
        yield Finding(subject.name, f"neither {' nor '.join(SYSTEM_FOLDERS)} is in it")
