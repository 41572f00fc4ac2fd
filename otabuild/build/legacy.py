"""Files for clients of the generation before (specification, section 9)."""

from __future__ import annotations

from collections.abc import Mapping

from otabuild.build.assemble import document, stored_file
from otabuild.format.legacy_jwt import CERTIFICATE_NAME, NAME
from otabuild.storage.cache import Blob, Cache
from otabuild.storage.member import Member

FOLDER = "data/opt/ota/otaclient_release/"


def legacy_members(
    folder: Mapping[str, Blob], certificate_pem: bytes, metadata_jwt: bytes, cache: Cache
) -> list[Member]:
    """The release folder in its legacy place, and the signature beside it.

    Args:
        folder: what the files of the release folder hold, by name.
        certificate_pem: the signing certificate.
        metadata_jwt: the token for legacy clients.
        cache: holds the files.

    Raises:
        DamagedBlobError: the cache has lost a file of the folder.
    """
    return [
        document(CERTIFICATE_NAME, certificate_pem),
        document(NAME, metadata_jwt),
        *(stored_file(FOLDER + name, blob, cache) for name, blob in folder.items()),
    ]
