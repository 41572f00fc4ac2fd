"""Opens a store by its URL."""

from __future__ import annotations

from urllib.parse import SplitResult, unquote, urlsplit

from otabuild.errors import InputError
from otabuild.format.urls import is_url
from otabuild.stores.folder_store import FolderStore
from otabuild.stores.store import Store

_BUCKETS = frozenset({"s3", "gs", "az"})
_WEB = frozenset({"http", "https"})


def open_store(url: str) -> Store:
    """Open a store; its credentials are in the customary environment variables. Nothing is asked of it yet.

    Args:
        url: a folder, `file:///folder`, `s3://bucket/prefix`, `gs://…`, `az://container/prefix`, or `https://…`.

    Raises:
        InputError: not a URL of a store, or it contains a password; or the extra `remote` is not installed.
    """
    if not is_url(url):
        return FolderStore(url, url)
    parts = _split(url)
    if parts.scheme == "file":
        return FolderStore(url, unquote(parts.path))
    try:
        from otabuild.stores.remote import open_remote  # noqa: PLC0415 only some users need the library, and have it
    except ImportError as error:
        raise InputError(
            "reading and writing by URL needs the extra `remote`",
            where=url,
            observed=error,
            hint="pip install 'otabuild[remote]'",
        ) from None
    return open_remote(url.rstrip("/"), parts)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        secret = parts.password is not None or parts.username is not None
    except ValueError as error:
        raise InputError("not a URL", where=url, observed=error) from None
    safe = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if secret:
        raise InputError(
            "a URL with a user or a password in it: it would be shown in logs and reports",
            where=safe,
            hint="put them into ~/.netrc, or into the variables of the store (AWS_…, GOOGLE_…, AZURE_…)",
        )
    if parts.query or parts.fragment:
        raise InputError("a URL with a query: a release has many files below one URL", where=safe)
    if parts.scheme not in {"file", *_BUCKETS, *_WEB} or (parts.scheme != "file" and not parts.hostname):
        expected = "a path, file:///…, s3://bucket/…, gs://bucket/…, az://container/…, https://host/…"
        raise InputError("not a store that otabuild knows", where=safe, expected=expected)
    return parts
