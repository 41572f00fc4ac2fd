"""Opens a store behind a network, with the credentials and settings of the environment."""

from __future__ import annotations

import netrc
import os
from base64 import b64encode
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store

from otabuild.errors import InputError
from otabuild.storage.files import read_file
from otabuild.stores.object_errors import store_error
from otabuild.stores.object_store import ObjectStore
from otabuild.stores.store import Store

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig
    from obstore.store import ObjectStore as Remote

AUTHORIZATION = "OTABUILD_AUTHORIZATION"
CA_FILE = "OTABUILD_CA_FILE"
TIMEOUT = "OTABUILD_TIMEOUT"
_PATIENCE = "60"
_CA_LIMIT = 4 << 20
_WEB = frozenset({"http", "https"})
_ENDPOINTS = {"s3": "AWS_ENDPOINT_URL", "gs": "GOOGLE_BASE_URL", "az": "AZURE_STORAGE_ENDPOINT"}
"""The variables with the address of a server that is not the one of Amazon, Google or Microsoft."""


def open_remote(url: str, parts: SplitResult) -> Store:
    """Open a store behind a network.

    Args:
        url: what the user named, without a slash at its end.
        parts: of the URL, which has no password.

    Raises:
        InputError, StorageError: the environment, or a file that it names, is of no use.
        StoreError: obstore finds the place or the credentials wrong.
    """
    patience = _patience()
    # Retries and deadlines are those of ObjectStore: obstore's end a large file that is still
    # coming.
    retry: RetryConfig = {"max_retries": 0, "retry_timeout": timedelta(seconds=patience)}
    options: ClientConfig = {
        "timeout": timedelta(days=7),
        "connect_timeout": timedelta(seconds=min(patience, 20)),
        # A server of one's own may speak plain HTTP, if its address says so. From https, no
        # redirect leads to http.
        "allow_http": os.environ.get(_ENDPOINTS.get(parts.scheme, ""), url)
        .lower()
        .startswith("http://"),
    }
    if ca_file := os.environ.get(CA_FILE):
        options["root_certificate"] = read_file(ca_file, _CA_LIMIT)
    bucket, prefix = parts.netloc, unquote(parts.path).strip("/")
    remote: Remote
    try:
        match parts.scheme:
            case "s3":
                remote = S3Store(bucket, client_options=options, retry_config=retry)
            case "gs":
                remote = GCSStore(bucket, client_options=options, retry_config=retry)
            case "az":
                remote = AzureStore(bucket, client_options=options, retry_config=retry)
            case _:
                if (answer := _authorization(parts)) is not None:
                    options["default_headers"] = {"Authorization": answer}
                remote = HTTPStore(
                    f"{parts.scheme}://{bucket}", client_options=options, retry_config=retry
                )
    except BaseError as error:
        raise store_error(error, "open the store", url) from None
    except ValueError:  # only a certificate is parsed
        expected = "one or more certificates, BEGIN CERTIFICATE"
        raise InputError(
            "not a file of certificates in PEM", where=ca_file, expected=expected
        ) from None
    return ObjectStore(
        url, remote, prefix and f"{prefix}/", patience=patience, is_web=parts.scheme in _WEB
    )


def _patience() -> float:
    text = os.environ.get(TIMEOUT, _PATIENCE)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 86400:
        raise InputError(
            "not a number of seconds", where=TIMEOUT, observed=text, expected="such as 60"
        )
    return seconds


def _authorization(parts: SplitResult) -> str | None:
    """Return the Authorization header for a web server, from the environment or from netrc."""
    if answer := os.environ.get(AUTHORIZATION):
        return answer
    path = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
    try:
        found = netrc.netrc(path).authenticators(parts.hostname or "")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, netrc.NetrcParseError) as error:
        raise InputError(
            "cannot read the passwords of web servers", where=path, observed=_line_only(error)
        ) from None
    if found is None:
        return None
    user, _, password = found
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def _line_only(error: Exception) -> object:
    """An error of netrc may quote a word of the file, which may be a password."""
    if isinstance(error, netrc.NetrcParseError):
        return f"line {error.lineno}"
    return error.strerror if isinstance(error, OSError) else "not UTF-8"
