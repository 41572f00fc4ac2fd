"""lint: what a client's memory, a device's firmware and disks, and the system that runs now make of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from otabuild.errors import Finding
from otabuild.findings import findings_of
from otabuild.image.image import open_image
from otabuild.image.inspect_blob import get_filetable, get_resourcetable
from otabuild.lint.device_rules import (
    FstabSubject,
    MemorySubject,
    RunningSystem,
    SystemSubject,
    is_jetson,
    kernels_of,
)
from otabuild.lint.lint_image import lint_image, memory_of
from otabuild.pipeline.lint_recipe import lint_recipe
from otabuild.recipe.load import load_recipe
from tests.image import forge
from tests.image.packages import SQUASHFS, with_package
from tests.image.products import NOW, Tree, build, workspace

MB = 10**6
MINE = {"client-memory", "bsp-version", "older-system", "fstab-device", "incomplete-rootfs"}


def whats(*subjects: object) -> list[str]:
    return [finding.what for subject in subjects for finding in findings_of(subject)]


@pytest.mark.parametrize(
    ("file_table", "resource_table", "package", "who"),
    [
        ((1, 699), (0, 0), 0, None),
        ((1, 600), (9, 90), 0, None),
        ((1, 600), (9, 90), 1, "clients up to 3.14.1"),
        ((60, 600), (9, 90), 0, "clients up to 3.14.1"),
        ((40, 740), (5, 60), 100, "clients up to 3.14.1"),
        ((40, 1000), (10, 130), 100, None),
        ((40, 1000), (10, 130), 101, "any client so far"),
    ],
)
def test_tables_and_package_have_room_in_the_memory_of_clients(
    file_table: tuple[int, int], resource_table: tuple[int, int], package: int, who: str | None
) -> None:
    sizes = {"file table": file_table, "resource table": resource_table}
    if file_table == (40, 1000) and package == 100:  # 1,280 MB are room enough, but not for early clients
        who = "clients up to 3.14.1"
    subject = MemorySubject("main/dev", {name: (a * MB, b * MB) for name, (a, b) in sizes.items()}, package * MB)
    found = list(findings_of(subject))
    assert [finding.what for finding in found] == ([f"more than the memory of {who}"] if who else [])
    if found:
        assert f"file table {file_table[0]:.1f} MB + {file_table[1]:,.1f} MB" in str(found[0].observed)
        assert f"client package {package:.1f} MB" in str(found[0].observed)


def system(version: str | None = None, *kernels: str, bsp: str | None = None, name: str = "Debian") -> RunningSystem:
    return RunningSystem(name, version, frozenset(kernels), bsp)


@pytest.mark.parametrize(
    ("ours", "base", "found"),
    [
        (system("12"), None, []),
        (system("12"), system("12"), []),
        (system("12"), system("9"), []),
        (system("9"), system("12"), ["an older Debian than in the base"]),
        (system("20.04"), system("22.04"), ["an older Debian than in the base"]),
        (system("9", name="Ubuntu"), system("12"), []),
        (system(None), system("12"), []),
        (system("12"), system(None), []),
        (system("12", "5.15.0-91-generic"), system("12", "5.15.0-100-generic"), ["an older kernel than in the base"]),
        (system("12", "5.15.0-100-generic"), system("12", "5.15.0-91-generic"), []),
        (system("12", "5.10", "6.1"), system("12", "6.1"), []),
        (system("12"), system("12", "6.1"), []),
        (
            system("11", "5.10"),
            system("12", "6.1"),
            ["an older Debian than in the base", "an older kernel than in the base"],
        ),
    ],
)
def test_systems_that_go_back(ours: RunningSystem, base: RunningSystem | None, found: list[str]) -> None:
    assert whats(SystemSubject("main/dev", ours, False, base)) == found


@pytest.mark.parametrize(
    ("ours", "jetson", "base", "found"),
    [
        (None, False, None, []),
        (None, True, None, ["for a Jetson, but without a BSP version"]),
        ("R35.4.1", True, None, []),
        ("R35.4.1", True, system(bsp="R35.4.1"), []),
        ("R36.3.0", True, system(bsp="R35.4.1"), ["the BSP version changes"]),
        (None, True, system(bsp="R35.4.1"), ["the BSP version changes"]),
        ("R35.4.1", True, system(), ["the BSP version changes"]),
        (None, True, system(), ["for a Jetson, but without a BSP version"]),
        (None, False, system(), []),
    ],
)
def test_bsp_versions(ours: str | None, jetson: bool, base: RunningSystem | None, found: list[str]) -> None:
    assert whats(SystemSubject("main/dev", system(bsp=ours), jetson, base)) == found


@pytest.mark.parametrize("fact", ["orin-agx", "NVIDIA Jetson", "Xavier", "adlink-orin", "tegra234"])
def test_a_jetson_by_its_names(fact: str) -> None:
    assert is_jetson(None, fact)
    assert not is_jetson(None, "x86_64", "monitoring")


@pytest.mark.parametrize(
    ("device", "bad"),
    [
        ("UUID=0a1b", True),
        ("PARTUUID=0a1b", True),
        ("/dev/sda1", True),
        ("/dev/nvme0n1p2", True),
        ("/dev/mmcblk0p1", True),
        ("/dev/vda", True),
        ("/dev/disk/by-uuid/0a1b", True),
        ("/dev/disk/by-id/ata-1", True),
        ("LABEL=root", False),
        ("PARTLABEL=APP", False),
        ("/dev/disk/by-label/root", False),
        ("/dev/disk/by-partlabel/APP", False),
        ("/dev/mapper/data", False),
        ("tmpfs", False),
        ("#UUID=0a1b", False),
        ("# /dev/sda1", False),
    ],
)
def test_lines_of_fstab_that_only_one_device_has(device: str, bad: bool) -> None:
    lines = f"\n# <file system> <mount point>\n   {device}  /data ext4 defaults 0 2\n"
    due = ["names a partition of one device for /data"] if bad else []
    assert whats(FstabSubject("main/dev", lines.encode() + b"\xff")) == due
    alone = ["names a partition of one device"] if bad else []
    assert whats(FstabSubject("main/dev", device.split(maxsplit=1)[0].encode())) == alone


def test_kernels_are_where_depmod_or_a_build_put_them() -> None:
    paths = ["/lib/modules/6.1/modules.dep", "/usr/lib/modules/5.10/modules.builtin", "/usr/lib/modules/4/kernel/x.ko"]
    assert kernels_of([*paths, "/opt/lib/modules/3/modules.dep"]) == {"6.1", "5.10"}


# images and recipes

OLD: Tree = {
    "etc/os-release": b'NAME="Debian"\nVERSION_ID="12"\n',
    "etc/nv_tegra_release": b"# R36 (release), REVISION: 3.0, GCID: 1, BOARD: generic\n",
    "usr/lib/modules/6.1.0-9/modules.dep": b"",
}
NEW: Tree = {
    "etc/os-release": b'NAME="Debian"\nVERSION_ID="11"\n',
    "etc/fstab": b"UUID=0a1b2c / ext4 defaults 0 1\n" + b"# a comment, so that it is not inlined\n" * 3,
    "etc/nv_tegra_release": b"# R35 (release), REVISION: 4.1, GCID: 1, BOARD: generic\n",
    "usr/lib/modules/5.10.0-1/modules.dep": b"",
}
BARE: Tree = {"data/x": b"x"}


def mine(findings: Any) -> list[tuple[str, str]]:
    return sorted((f.rule, f.what) for f in findings if isinstance(f, Finding) and f.rule in MINE)


FOUND = [
    ("bsp-version", "the BSP version changes"),
    ("fstab-device", "names a partition of one device for /"),
    ("older-system", "an older Debian than in the base"),
    ("older-system", "an older kernel than in the base"),
]


def test_an_image_and_its_recipe_against_a_base(tmp_path: Path) -> None:
    build(tmp_path / "old", OLD)
    build(tmp_path / "new", NEW)
    recipe = load_recipe(tmp_path / "new/recipe.yaml")
    with open_image(tmp_path / "old/image.zip") as base, open_image(tmp_path / "new/image.zip") as image:
        assert mine(lint_image(base, NOW, base)) == []
        dev = [f for f in lint_image(image, NOW, base) if "prd" not in str(f.where)]
        assert mine(dev) == FOUND
        assert mine(lint_recipe(recipe, workspace(tmp_path), base)) == FOUND


def test_an_image_and_its_recipe_without_a_base(tmp_path: Path) -> None:
    payload = {"ecu": "main", "rootfs": "main", "hardware": {"model": "orin-agx"}}
    build(tmp_path / "bare", BARE, payloads=[payload])
    recipe = load_recipe(tmp_path / "bare/recipe.yaml")
    due = [
        ("bsp-version", "for a Jetson, but without a BSP version"),
        ("incomplete-rootfs", "neither /etc nor /usr is in it"),
    ]
    with open_image(tmp_path / "bare/image.zip") as image:
        assert mine(lint_image(image, NOW)) == due
        assert mine(lint_recipe(recipe, workspace(tmp_path))) == due


def test_a_base_without_the_payload_and_a_rootfs_that_is_meant_to_be_partial(tmp_path: Path) -> None:
    build(tmp_path / "base", OLD, payloads=[{"ecu": "other", "rootfs": "main"}])
    build(tmp_path / "part", BARE, rootfs={"partial": True})
    recipe = load_recipe(tmp_path / "part/recipe.yaml")
    with open_image(tmp_path / "base/image.zip") as base:
        assert mine(lint_recipe(recipe, workspace(tmp_path), base)) == []


def test_the_memory_that_an_image_takes(tmp_path: Path) -> None:
    path = forge.forge(**with_package()).artifact(tmp_path / "image.zip")
    with open_image(path) as image:
        (payload,) = image.payloads
        get_filetable(image, payload, tmp_path / "file-table")
        get_resourcetable(image, tmp_path / "resource-table")
        due = {
            "file table": (payload.manifest.file_table.size, (tmp_path / "file-table").stat().st_size),
            "resource table": (image.index.resource_table.size, (tmp_path / "resource-table").stat().st_size),
        }
        assert memory_of(payload) == MemorySubject("main/dev", due, len(SQUASHFS))
