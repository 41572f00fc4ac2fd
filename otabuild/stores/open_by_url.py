"""Opens an image by its URL."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from otabuild.errors import ContainerError, InputError, LimitError
from otabuild.storage.backend import Backend, NoSuchFileError
from otabuild.storage.backends import open_backend
from otabuild.stores.open_store import open_store
from otabuild.stores.store import Store
from otabuild.stores.store_artifact_backend import StoreArtifactBackend
from otabuild.stores.store_backend import StoreBackend

_RELEASES = "releases"


def open_by_url(url: str) -> Backend:
    """Open an image directory or an artifact, wherever it is; a `file:` URL as its path.

    Raises:
        InputError: there is no image at this URL, or it is not one that `open_store` takes.
        ContainerError, LimitError: the artifact is not the strict ZIP of the format.
        StoreError: the store could not be read.
    """
    if url.lower().startswith("file:"):
        return open_backend(unquote(urlsplit(url).path))
    root, base = split_url(url)
    store = open_store(root)
    try:
        return _open(url, store, base)
    except BaseException:
        store.close()
        raise


def split_url(url: str) -> tuple[str, str]:
    """Return the URL of an image's store, and the image's key in it, empty for the store itself.

    The store of a release, `STORE/releases/NAME`, is that of all releases.
    """
    scheme, _, rest = url.partition("://")
    place, *names = rest.strip("/").split("/")
    kept = max(0, len(names) - (2 if _RELEASES in names[-2:-1] else 1))
    return "/".join([f"{scheme}://{place}", *names[:kept]]), unquote("/".join(names[kept:]))


def _open(url: str, store: Store, base: str) -> Backend:
    kinds: list[Callable[[str, Store, str], Backend]] = [_open_directory, StoreArtifactBackend]
    if base.lower().endswith(".zip"):
        kinds.reverse()
    for kind in kinds if base and not url.endswith("/") else [_open_directory]:
        try:
            return kind(url, store, base)
        except NoSuchFileError:
            continue
        except (ContainerError, LimitError) as error:
            raise error.at(url) from None
    raise InputError(
        "no such image", where=url, hint="name an artifact, or the folder that index.json is in"
    )


def _open_directory(url: str, store: Store, base: str) -> Backend:
    # Many web servers have no list, and others list the blobs of all releases as those of each.
    return StoreBackend(url, store, base, can_list=not url.lower().startswith("http"))
