"""Threat F10: images of a few KiB whose contents never end."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from otabuild.deployment.deploy import deploy
from otabuild.deployment.deploy_tar import deploy_tar
from otabuild.errors import StorageError
from otabuild.image.bounds import UNBOUNDED, Bounds, BoundsError
from otabuild.image.image import Image, open_image
from otabuild.signing.trust import TrustPolicy
from otabuild.verification.verify import Report, verify
from tests import pki
from tests.image import forge
from tests.image.forge import sha256

TIB = 1 << 40
BLOCK = 128 << 10
HEAD = b"\x28\xb5\x2f\xfd\xc4\x88"
"""Of a frame with a checksum, a size of 8 bytes and a window of 128 MiB."""
PER_LEAF = 2048
"""Blocks of a leaf: 8 KiB that declare 256 MiB."""


class Bomb:
    """A content of up to 16 TiB: a frame of repeated bytes, cut into slices that are one blob."""

    def __init__(self, size: int, byte: bytes = b"x", first: bytes = b"", made: int = 0) -> None:
        """Repeat `byte`, `size` times, after a first block that makes `made` bytes."""
        head = HEAD + (size + made).to_bytes(8, "little") + first
        leaf = ((BLOCK << 3 | 1 << 1).to_bytes(3, "little") + byte) * PER_LEAF
        count = size // BLOCK // PER_LEAF
        frame_size = len(head) + count * len(leaf)
        self.blobs = {sha256(part): part for part in (head, leaf)}
        self.rows: list[tuple[Any, ...]] = [
            (100, sha256(head), len(head), None, None),
            (101, sha256(leaf), len(leaf), None, None),
            (102, sha256(b"frame"), frame_size, b"s:" + msgpack.packb([100, *[101] * count]), None),
            (103, sha256(b"content"), size + made, b"c:" + msgpack.packb([102, "zstd"]), None),
        ]

    def artifact(self, path: Path) -> Path:
        """Make a valid image in which /etc/tool has this content."""

        def resources(stage: Any) -> Any:
            rows, blobs = stage
            for number in (5, 15, 16, 21):  # what made it before
                blobs.pop(rows.pop(number)[1], None)
            return rows | {row[0]: row for row in self.rows}, blobs | self.blobs

        def file_table(connection: sqlite3.Connection) -> None:
            _, digest, size, *_ = self.rows[-1]
            connection.execute("UPDATE ft_resource SET digest = ?, size = ? WHERE resource_id = 7", (digest, size))

        return forge.forge(resources=resources, file_table=file_table).artifact(path)


class Nested(Bomb):
    """A content of a hundred bytes, in a frame of endless empty blocks, in a frame of zeros: nothing comes out of it."""

    def __init__(self) -> None:
        inner = HEAD + (100).to_bytes(8, "little")
        # The outer frame begins with the header of the inner one; zeros are the headers of empty blocks.
        super().__init__(TIB, b"\0", first=(len(inner) << 3).to_bytes(3, "little") + inner, made=len(inner))
        self.rows.append((104, sha256(b"none"), 100, b"c:" + msgpack.packb([103, "zstd"]), None))


def the_verdict(image: Image) -> Report:
    return verify(image, forge.policy(), pki.NOW)


def after(seconds: float) -> Bounds:
    """Any size, and this long."""
    end = time.monotonic() + seconds
    return Bounds(size=None, expired=lambda: time.monotonic() > end)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authentic image of less than 120 KB that declares 16 TiB."""
    path = Bomb(16 * TIB - (PER_LEAF * BLOCK)).artifact(tmp_path_factory.mktemp("bomb") / "image")
    assert path.stat().st_size < 120_000
    return path


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authentic image that declares little, and needs 1 TiB for it."""
    return Nested().artifact(tmp_path_factory.mktemp("nested") / "image")


@pytest.mark.parametrize("policy", [None, TrustPolicy(anchors=pki.anchors(pki.issue("another root")))])
def test_f10_contents_of_an_image_that_is_not_authentic_are_not_rebuilt(
    large: Path, policy: TrustPolicy | None
) -> None:
    with open_image(large, bounds=UNBOUNDED) as image:
        report = verify(image, policy, pki.NOW)
    assert not report.ok
    assert not report.contents_checked
    assert {finding.rule for finding in report.findings} == {"signature"}


def test_f10_verification_refuses_what_is_declared_and_tells_it(large: Path) -> None:
    with open_image(large) as image:
        report = the_verdict(image)
    (finding,) = report.findings
    assert (finding.rule, finding.observed) == ("content", "16.00 TiB to make")
    assert finding.expected == "at most 1.00 TiB"
    assert not report.contents_checked
    assert report.counts["content-bytes"] > 15 * TIB


def test_f10_what_is_made_on_the_way_counts(nested: Path) -> None:
    with open_image(nested, bounds=Bounds(size=TIB // 2)) as image:
        report = the_verdict(image)
    assert [finding.what for finding in report.findings] == ["its contents are larger than is allowed"]
    assert report.counts["content-bytes"] < 1 << 20


@pytest.mark.parametrize("path", ["large", "nested"])
def test_f10_verification_ends_when_its_time_is_over(path: str, request: pytest.FixtureRequest) -> None:
    with open_image(request.getfixturevalue(path), bounds=after(0.3)) as image:
        report = the_verdict(image)
    assert [finding.what for finding in report.findings] == ["rebuilding its contents takes longer than is allowed"]
    assert not report.contents_checked


@pytest.mark.parametrize("act", [deploy, deploy_tar])
@pytest.mark.parametrize(
    ("bounds", "error"), [(Bounds(), BoundsError), (UNBOUNDED, StorageError)], ids=["bounds", "disk"]
)
def test_f10_deployment_writes_nothing(
    large: Path, tmp_path: Path, act: Callable[..., object], bounds: Bounds, error: type[Exception]
) -> None:
    with open_image(large, bounds=bounds) as image, pytest.raises(error):
        act(image.payload("main"), tmp_path / "target", forge.policy(), pki.NOW)
    assert not list(tmp_path.iterdir())


def test_f10_deployment_ends_when_its_time_is_over(nested: Path, tmp_path: Path) -> None:
    with open_image(nested, bounds=after(0.3)) as image, pytest.raises(BoundsError, match="takes longer"):
        deploy_tar(image.payload("main"), tmp_path / "target", forge.policy(), pki.NOW)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "bounds", "error"),
    [
        ("large", Bounds(), BoundsError),
        ("large", UNBOUNDED, StorageError),
        ("nested", Bounds(), BoundsError),
    ],
)
def test_f10_one_file_is_bounded(
    path: str, bounds: Bounds, error: type[Exception], request: pytest.FixtureRequest
) -> None:
    with open_image(request.getfixturevalue(path), bounds=bounds) as image, pytest.raises(error):
        image.payload("main").open("/bin/big")


def test_f10_one_file_ends_when_its_time_is_over(nested: Path) -> None:
    with open_image(nested, bounds=after(0.3)) as image, pytest.raises(BoundsError, match="takes longer"):
        image.payload("main").open("/bin/big")


def test_f10_an_error_of_one_content_does_not_end_the_others_but_bounds_do(tmp_path: Path) -> None:
    """All contents together count, and a good image within the bounds is verified."""
    path = forge.forge().artifact(tmp_path / "image")
    with open_image(path) as image:
        report = the_verdict(image)
    assert report.ok
    assert report.contents_checked
    content = report.counts["content-bytes"]
    with open_image(path, bounds=Bounds(size=content)) as image:  # frames, bundles and slices count, too
        assert not the_verdict(image).ok
