"""One server of each kind for all tests of a process; each test has a prefix of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stores.servers import azurite, nginx, rclone_s3, seaweedfs


@pytest.fixture(scope="session")
def seaweedfs_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as address:
        yield address


@pytest.fixture(scope="session")
def rclone_s3_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with rclone_s3(tmp_path_factory.mktemp("rclone")) as address:
        yield address


@pytest.fixture(scope="session")
def google_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of Google's kind: its XML is that of S3, but it wants a token instead of a signature."""
    with rclone_s3(tmp_path_factory.mktemp("google"), anybody=True) as address:
        yield address


@pytest.fixture(scope="session")
def azure_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with azurite(tmp_path_factory.mktemp("azurite")) as address:
        yield address


@pytest.fixture(scope="session")
def webdav_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("webdav")
    (folder / "root").mkdir()
    with nginx(folder, folder / "root", writable=True) as address:
        yield address


@pytest.fixture(scope="session")
def blind_webdav_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server to which files can be put, and which cannot tell what it has."""
    folder = tmp_path_factory.mktemp("blind_webdav")
    (folder / "root").mkdir()
    with nginx(folder, folder / "root", server="dav_methods PUT DELETE; create_full_put_path on;") as address:
        yield address


@pytest.fixture(scope="session")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a web server that only reads, and its folder."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "root").mkdir()
    with nginx(folder, folder / "root") as address:
        yield address, folder / "root"
