"""Inputs on file systems whose times tell nothing: two images of a tree that agree in all but the bytes of its files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from otabuild.pipeline.steps.scan_step import ScanStep
from tests.pipeline.signing_world import RECIPE, World
from tests.rootfs.tars import END, member
from tests.rootfs.trees import IS_ROOT, make_tree

THEN = 1_700_000_000

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not IS_ROOT or shutil.which("mksquashfs") is None, reason="needs root and mksquashfs"),
]


@contextmanager
def mounted(image: Path, point: Path, overlays: int = 0) -> Iterator[None]:
    """Mount an image, seen through so many file systems of layers, the last one at `point`."""
    with ExitStack() as stack:
        options, source = "loop,ro", image
        for number in range(overlays + 1):
            place = point if number == overlays else point.with_name(f"layer{number}")
            for folder in place, point.with_name("empty"):
                folder.mkdir(exist_ok=True)
            kind = ["-t", "overlay"] if number else []
            done = subprocess.run(
                ["mount", *kind, "-o", options, source, place], capture_output=True, text=True, check=False
            )
            if done.returncode:
                pytest.skip(f"cannot mount: {done.stderr}")
            stack.callback(unmount, place)
            options, source = f"lowerdir={place}:{point.with_name('empty')}", Path("overlay")
        yield


def unmount(place: Path) -> None:
    subprocess.run(["umount", place], check=True)


def squashed(image: Path, tree: Path) -> Path:
    """Write a tree into an image whose times and sizes do not depend on the bytes of its files."""
    times = ["-all-time", str(THEN), "-mkfs-time", str(THEN)]
    plain = ["-noappend", "-quiet", "-no-progress", "-noI", "-noD", "-noF"]
    subprocess.run(["mksquashfs", tree, image, *plain, *times], check=True, capture_output=True)
    return image


def archive(byte: bytes) -> bytes:
    return member(b"etc/", kind=b"5") + member(b"etc/file", byte * 5000) + END


@pytest.mark.parametrize("overlays", [0, 1, 2])
@pytest.mark.parametrize(
    ("source", "name", "written"),
    [
        ("directory: mounted", "etc/inlined", lambda byte: byte * 5),
        ("directory: mounted", "etc/bundled", lambda byte: byte * 5000),
        ("directory: mounted", "etc/alone", lambda byte: byte * 2_000_000),
        ("directory: mounted/below", "below/etc/file", lambda byte: byte * 5000),
        ("tar: mounted/a.tar", "a.tar", archive),
    ],
)
def test_another_image_in_the_same_place(
    world: World, overlays: int, source: str, name: str, written: Callable[[bytes], bytes]
) -> None:
    (world.folder / "v.yaml").write_text(RECIPE.replace("directory: rootfs", source))
    one, two = (
        squashed(
            world.folder / f"{number}.squashfs", make_tree(world.folder / number, {name: written(number.encode())})
        )
        for number in ("1", "2")
    )
    point = world.folder / "mounted"
    with mounted(one, point, overlays):
        first = world.build()
        before = snapshot(point)
        assert world.build() == first
        assert world.built() == ["scan"]  # hashed again; nothing else has to run
    with mounted(two, point, overlays):
        assert snapshot(point) == before
        assert "times may hide a change" in str(ScanStep(world.recipe, world.workspace, "main").decide().reasons)
        second = world.build()
        assert second != first
        world.forget()
        assert world.build() == second


def snapshot(root: Path) -> list[tuple[object, ...]]:
    names = ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
    return [(path, *(getattr(os.lstat(path), name) for name in names)) for path in sorted([root, *root.rglob("*")])]
