"""Every kind of store: where the tests of a process find one of it, empty."""

from __future__ import annotations

import json
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.stores.servers import (
    AZURE_ACCOUNT,
    AZURE_KEY,
    BUCKET,
    aws_environ,
    needs_azurite,
    needs_dav,
    needs_nginx,
    needs_rclone,
    needs_seaweedfs,
)

SEAWEEDFS = pytest.param("seaweedfs", marks=needs_seaweedfs)
WEBDAV = pytest.param("webdav", marks=needs_dav)
LISTED = [
    "folder",
    SEAWEEDFS,
    pytest.param("rclone_s3", marks=needs_rclone),
    pytest.param("google", marks=needs_rclone),
    pytest.param("azure", marks=needs_azurite),
    WEBDAV,
]
"""The kinds that do everything."""
WRITABLE = [*LISTED, pytest.param("blind_webdav", marks=needs_nginx)]
"""And one that cannot be listed."""
READ_ONLY = pytest.param("plain", marks=needs_nginx)
"""A web server over a folder, into which somebody else publishes."""


def place_of(kind: str, name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Return the URL of an empty store for writing, and the one for reading; the environment then has its credentials.

    Args:
        kind: one of the above.
        name: a prefix that no other test has.
        request: of the test.
        monkeypatch: puts the environment back.
    """
    if kind == "folder":
        url = f"{request.getfixturevalue('tmp_path')}/store"
    elif kind == "plain":
        address, folder = request.getfixturevalue("plain_server")
        return str(folder / name), f"{address}/{name}"
    elif kind in ("webdav", "blind_webdav"):
        url = f"{request.getfixturevalue(f'{kind}_address')}/{name}"
    else:
        url, environ = _cloud(kind, request)
        url += f"/of/{name}"
        for variable, value in environ.items():
            monkeypatch.setenv(variable, value)
    return url, url


def _cloud(kind: str, request: pytest.FixtureRequest) -> tuple[str, dict[str, str]]:
    address = request.getfixturevalue(f"{kind}_address")
    if kind == "google":
        return f"gs://{BUCKET}", {"GOOGLE_BASE_URL": address, "GOOGLE_SERVICE_ACCOUNT_KEY": _service_account()}
    if kind == "azure":
        account = {"AZURE_STORAGE_ACCOUNT_NAME": AZURE_ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY}
        return f"az://{BUCKET}", {"AZURE_STORAGE_ENDPOINT": address, **account}
    return f"s3://{BUCKET}", aws_environ(address)


@cache
def _service_account() -> str:
    """Return a key of Google's kind that asks nobody for a token."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"type": "service_account", "client_email": "tests", "private_key_id": "1", "private_key": pem}
    return json.dumps({**account, "gcs_base_url": "", "disable_oauth": True})
