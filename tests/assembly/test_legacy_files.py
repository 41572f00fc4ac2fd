"""The files that an image has for the previous generation of clients (section 9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabuild.assembly.legacy_files import legacy_members
from otabuild.storage.cache import Cache
from otabuild.storage.member import DamagedBlobError
from tests.assembly.worlds import blob


def test_the_folder_and_the_signature_are_at_their_places(tmp_path: Path) -> None:
    with Cache(str(tmp_path)) as cache:
        folder = {"manifest.json": cache.add(b"{}"), "a.squashfs": cache.add(b"squash")}
        found = legacy_members(folder, b"PEM", b"JWT", cache)
        assert [(member.name, member.size, b"".join(member.read())) for member in found] == [
            ("certificate.pem", 3, b"PEM"),
            ("metadata.jwt", 3, b"JWT"),
            ("data/opt/ota/otaclient_release/manifest.json", 2, b"{}"),
            ("data/opt/ota/otaclient_release/a.squashfs", 6, b"squash"),
        ]
        assert [member.digest for member in found] == [None, None, blob(b"{}").digest, blob(b"squash").digest]


def test_a_file_that_is_no_longer_stored_is_named(tmp_path: Path) -> None:
    with Cache(str(tmp_path)) as cache, pytest.raises(DamagedBlobError) as caught:
        legacy_members({"a": blob(b"gone")}, b"", b"", cache)
    assert caught.value.where == "data/opt/ota/otaclient_release/a"
