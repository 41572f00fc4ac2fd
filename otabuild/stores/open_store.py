"""Opens a store by its URL."""

from __future__ import annotations

from urllib.parse import unquote

from otabuild.errors import InputError, how_to_install
from otabuild.format.urls import is_url, parse_url
from otabuild.stores.folder_store import FolderStore
from otabuild.stores.store import Store


def open_store(url: str) -> Store:
    """Open a store, asking nothing of it yet; credentials are in the usual environment variables.

    Args:
        url: a folder, `file:///folder`, `s3://bucket/prefix`, `gs://…`, `az://container/prefix`, or
            `https://…`.

    Raises:
        InputError: not a URL of a store, or it contains a password; or the extra `remote` is not
            installed.
    """
    if not is_url(url):
        return FolderStore(url, url)
    parts = parse_url(url)
    if parts.scheme == "file":
        return FolderStore(url, unquote(parts.path))
    try:
        from otabuild.stores.remote import open_remote  # noqa: PLC0415 only some users need the library, and have it
    except ImportError as error:
        raise InputError(
            "reading and writing by URL needs the extra `remote`",
            where=url,
            observed=error,
            hint=how_to_install("remote"),
        ) from None
    return open_remote(url.rstrip("/"), parts)
