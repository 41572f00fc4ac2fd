"""What verification says of images in stores, which list their blobs with sizes, or list nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabuild.format.compat import Compat
from otabuild.image.image import Image
from otabuild.stores.store_backend import StoreBackend
from otabuild.verification.verify import Report, verify
from tests import pki
from tests.image import forge, worlds
from tests.image.forge import Forged, sha256
from tests.stores.images import members_of
from tests.stores.memory_store import MemoryStore


def verified_in_store(image: Forged, *, can_list: bool) -> Report:
    store = MemoryStore()
    for member in members_of(image):
        store.put(member.name, member)
    with Image(StoreBackend("memory:", store, "", can_list=can_list), Compat()) as opened:
        return verify(opened, forge.policy(), pki.NOW)


@pytest.mark.parametrize("content", [None, b"shorter", forge.RANDOM + b"~"])
def test_where_blobs_are_listed_the_same_is_found_as_in_a_folder(content: bytes | None, tmp_path: Path) -> None:
    name = f"blobs/sha256/{sha256(forge.RANDOM).hex()}"

    def damage(names: dict[str, bytes]) -> None:
        del names[name]
        names.update({} if content is None else {name: content})

    forged = forge.forge(blob_files=damage)
    found, due = verified_in_store(forged, can_list=True), worlds.verified(forged.directory(tmp_path / "image"))
    assert [(finding.rule, finding.where) for finding in found.findings] == [
        (finding.rule, finding.where) for finding in due.findings
    ]
    assert "resources.leaves" in {finding.rule for finding in found.findings}
    assert found.counts == due.counts


def test_where_nothing_is_listed_the_blobs_are_those_that_should_be_there(tmp_path: Path) -> None:
    found = verified_in_store(forge.forge(), can_list=False)
    assert found.findings == ()
    assert found.counts == worlds.verified(forge.forge().directory(tmp_path / "image")).counts


def test_a_blob_that_nothing_is_made_of_is_read_no_further_than_its_size() -> None:
    unused = b"of no payload"

    def add(stage: tuple[dict[int, list[object]], dict[bytes, bytes]]) -> None:
        rows, leaves = stage
        rows[60] = [60, sha256(unused), len(unused), None, None]
        leaves[sha256(unused)] = unused + b" and more"

    found = verified_in_store(forge.forge(resources=add), can_list=False).findings
    assert {finding.rule for finding in found} == {"blob", "blobs.count", "resources.orphan"}
    assert [finding.what for finding in found if finding.rule == "blob"] == ["content is larger than it should be"]
