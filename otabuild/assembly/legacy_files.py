"""Files for the previous generation of clients (section 9)."""

from __future__ import annotations

from collections.abc import Mapping

from otabuild.assembly.assemble import stored_files
from otabuild.format.digest import Blob
from otabuild.format.legacy_jwt import CERTIFICATE_NAME, FOLDER, NAME
from otabuild.storage.cache import Cache
from otabuild.storage.member import Member, document


def legacy_members(
    folder: Mapping[str, Blob], certificate_pem: bytes, metadata_jwt: bytes, cache: Cache
) -> list[Member]:
    """Return the release folder at its legacy place, and the signature beside it.

    Args:
        folder: the blobs of the files of the release folder, by name.
        certificate_pem: the signing certificate.
        metadata_jwt: the token for legacy clients.
        cache: the cache that has the files.

    Raises:
        DamagedBlobError: a file of the folder is no longer in the cache.
    """
    return [
        document(CERTIFICATE_NAME, certificate_pem),
        document(NAME, metadata_jwt),
        *stored_files({FOLDER + name: blob for name, blob in folder.items()}, cache),
    ]
