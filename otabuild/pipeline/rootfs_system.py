"""What a rootfs states of the system in it."""

from __future__ import annotations

from dataclasses import dataclass

from otabuild.format.image_config import jetson_bsp_version
from otabuild.format.os_release import parse_os_release
from otabuild.rootfs.scan import ReleaseFiles


@dataclass(frozen=True)
class System:
    """What a rootfs states of itself: name and version of the system, version of the Jetson BSP."""

    os: str | None
    os_version: str | None
    bsp_version: str | None


def system_of(release: ReleaseFiles) -> System:
    """Return the names and versions that a rootfs states for its system, and for the Jetson BSP."""
    named = parse_os_release(release.os_release or b"")
    bsp = None if release.nv_tegra_release is None else jetson_bsp_version(release.nv_tegra_release)
    return System(named.get("NAME") or None, named.get("VERSION_ID") or None, bsp)
