"""The servers of the how-to about serving releases, as the page has them, and a client that fetches as vehicles do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest

from otabuild.api import publish
from otabuild.stores.open_store import open_store
from tests.releases.field_client import FieldClient
from tests.releases.worlds import image
from tests.stores.servers import BUCKET, aws_environ, free_port, needs_dav, needs_nginx, needs_seaweedfs, nginx

PAGE = (Path(__file__).parents[2] / "docs/how-to/serve-releases.md").read_text(encoding="utf-8")
FOLDER, WEBDAV, BUCKET_BEHIND = re.findall(r"```nginx\n(.*?)```", PAGE, re.DOTALL)
FOR_EVER = "public, max-age=31536000, immutable"


@contextmanager
def served(block: str, folder: Path, *, more: str = "", writable: bool = False) -> Iterator[str]:
    """Run a server as the page describes it, but on a free port, without TLS, and with files of this test."""
    block = block.replace("/srv/ota", str(folder / "ota")).replace("/etc/nginx", str(folder))
    block = re.sub(r"ssl_\w+ [^;]+;", "", block)

    def servers(port: int) -> str:
        return re.sub(r"listen [^;]+;", f"listen 127.0.0.1:{port};", block) + more

    (folder / "server").mkdir()
    with nginx(folder / "server", folder, writable=writable, servers=servers) as address:
        yield address


def check(address: str) -> None:
    """Fetch a release as a vehicle does, and look at what caches are told."""
    client = FieldClient(f"{address}/releases/1.0")
    assert client.update() > 5
    for name, headers in client.headers.items():
        assert headers["Cache-Control"] == (FOR_EVER if name.startswith("blobs/") else "no-cache"), name
        assert headers["Content-Encoding"] is None
    for path in ("claims/", "withdrawn/", "releases/2.0/index.jwt", ""):
        with pytest.raises(HTTPError, match="404") as caught:
            FieldClient(address).get(path)
        caught.value.close()


@needs_nginx
@pytest.mark.parametrize("linked", [True, False], ids=["with links", "by the rule"])
def test_a_folder_is_served(linked: bool, tmp_path: Path) -> None:
    publish(image(tmp_path / "image.zip"), str(tmp_path / "ota"))
    if not linked:  # as it is after publishing by WebDAV
        (tmp_path / "ota/releases/1.0/blobs").unlink()
    with served(FOLDER, tmp_path) as address:
        check(address)


@needs_nginx
@needs_seaweedfs
def test_a_bucket_is_served(seaweedfs_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in aws_environ(seaweedfs_address).items():
        monkeypatch.setenv(variable, value)
    publish(image(tmp_path / "image.zip"), f"s3://{BUCKET}/served")
    port = free_port()  # of a host that is the bucket, as Amazon has them
    host = f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {seaweedfs_address}/{BUCKET}/served/; }} }}"
    block = re.sub(r"https://my-bucket[^;]+", f"http://127.0.0.1:{port}", BUCKET_BEHIND)
    with served(block, tmp_path, more=host) as address:
        check(address)


@needs_dav
def test_a_release_is_published_by_webdav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ota").mkdir()
    (tmp_path / "ota.users").write_text("ci:{PLAIN}word\n")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ci password word\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with served(WEBDAV, tmp_path, writable=True) as address:
        publish(image(tmp_path / "image.zip"), address)
        assert open_store(address).can_list
    shutil.rmtree(tmp_path / "server")
    with served(FOLDER, tmp_path) as address:
        check(address)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize(
    ("asked", "due"),
    [
        ("/releases/1.4.2/blobs/sha256/ab", "/blobs/sha256/ab"),
        ("/releases/1.4.2/index.jwt", "/releases/1.4.2/index.jwt"),
        ("/releases/1.4.2/data/blobs/x", "/releases/1.4.2/data/blobs/x"),
    ],
)
def test_the_function_of_a_cdn_rewrites_blobs_only(asked: str, due: str) -> None:
    found = re.search(r"```js\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    event = json.dumps({"request": {"uri": asked}})
    shown = subprocess.run(
        ["node", "-p", f"{found[1]}; handler({event}).uri"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == due
