"""Signing an existing image without building it."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

import pytest

from otabuild.errors import (
    FormatError,
    IntegrityError,
    NotVerifiedError,
    OtabuildError,
    StateError,
    StorageError,
    TrustError,
)
from otabuild.format.legacy_jwt import verify_legacy_jwt
from otabuild.image.image import open_image
from otabuild.pipeline.resign import Signing, check_image, image_requests, index_signed_at, resign
from otabuild.signing.signer import PemSigner
from otabuild.signing.trust import TrustPolicy
from otabuild.storage import fs
from otabuild.verification.verify_sign import verify_sign
from tests import pki
from tests.pipeline.signing_world import SIGNATURE, World, check, entries
from tests.pki import DAY, NOW, intermediate, issue, signer
from tests.shared import REFERENCE, has_fixtures

NEXT = issue("next signer", intermediate(), eku=[pki.CODE_SIGNING])
NEXT_CHAIN = pki.chain(NEXT, intermediate())
LEGACY = "otaclient-package: {release-dir: release, legacy: true}\n"
SIGNED_AT = re.compile(rb'"vnd\.tier4\.ota\.image\.signed-at":\d+')


def sign(
    image: Path, output: Path | None = None, at: int = NOW, *, unchecked: bool = False, **answers: bytes
) -> list[str]:
    """Sign with the next key; return what was noticed before."""
    with open_image(image) as opened:
        noticed = check_image(opened, unchecked=unchecked)
        given = tuple((answer, name) for name, answer in answers.items())
        signer_of_next = None if answers else PemSigner(NEXT.ec_key)
        signing = Signing(NEXT_CHAIN, at, signer_of_next, given)
        resign(opened, str(output or image), signing, workers=2)
    return noticed


def signed_by_next(image: Path, now: int = NOW) -> None:
    check(image, now)
    with open_image(image) as opened:
        report = verify_sign(opened, TrustPolicy(anchors=pki.anchors()), now)
    assert report.chain[0].x509 == NEXT.certificate


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def built(world: World) -> World:
    """An artifact with all features, and its directory."""
    world.release()
    world.write(more=f"{LEGACY}output-dir: dist/v\n")
    world.build()
    return world


def test_only_the_signature_changes(built: World) -> None:
    before = entries(built.artifact)
    assert not sign(built.artifact)
    after = entries(built.artifact)
    signed_by_next(built.artifact)
    assert list(before) == list(after)
    assert {name for name in before if before[name] != after[name]} == SIGNATURE
    assert SIGNED_AT.sub(b"", before["index.json"]) == SIGNED_AT.sub(b"", after["index.json"])
    assert b'signed-at":%d' % NOW in after["index.json"]
    assert verify_legacy_jwt(after["metadata.jwt"], after["certificate.pem"]) == NEXT.certificate


def test_a_directory_is_signed_as_its_artifact_is(built: World) -> None:
    folder = built.folder / "dist/v"
    sign(folder)
    sign(built.artifact)
    signed_by_next(folder)
    assert tree(folder) == {name: data for name, data in entries(built.artifact).items() if not name.endswith("/")}


def test_another_output_leaves_the_image_alone(built: World) -> None:
    before = built.artifact.read_bytes()
    sign(built.artifact, built.folder / "dist/next.zip")
    assert built.artifact.read_bytes() == before
    signed_by_next(built.folder / "dist/next.zip")


def test_signing_twice_gives_the_same_bytes(built: World) -> None:
    sign(built.artifact)
    once = built.artifact.read_bytes()
    sign(built.artifact)
    assert built.artifact.read_bytes() == once


def test_an_unsigned_image_becomes_what_a_signed_build_makes(world: World) -> None:
    world.write(None)
    world.build()
    sign(world.artifact, at=NOW - DAY)
    signed = world.artifact.read_bytes()
    world.write(parties=(NEXT, intermediate()))
    (world.folder / "sign.key").write_bytes(NEXT.key_pem())
    assert world.build() == signed


def test_attached_tokens_make_a_rebuilt_image_equal_the_released_one(built: World) -> None:
    rebuilt = built.folder / "dist/rebuilt.zip"
    shutil.copy(built.artifact, rebuilt)
    sign(built.artifact)
    released = entries(built.artifact)
    sign(rebuilt, index=released["index.jwt"], metadata=released["metadata.jwt"])
    assert rebuilt.read_bytes() == built.artifact.read_bytes()
    with pytest.raises(StateError, match="waiting for an external signature"):
        sign(built.folder / "dist/v", index=released["index.jwt"])


def test_the_legacy_signature_is_kept_while_its_certificate_is(built: World) -> None:
    sign(built.artifact)
    before = entries(built.artifact)
    with open_image(built.artifact) as image:
        request, _ = image_requests(image, NOW + DAY, NEXT_CHAIN)
    sign(built.artifact, at=NOW + DAY, index=PemSigner(NEXT.ec_key).sign(request.digest))
    signed_by_next(built.artifact, NOW + DAY)
    assert entries(built.artifact)["metadata.jwt"] == before["metadata.jwt"]


def test_an_answer_about_another_time_is_refused(built: World) -> None:
    """This signature happens to have two dots among its bytes, like a token."""
    before = built.artifact.read_bytes()
    with open_image(built.artifact) as image:
        request, _ = image_requests(image, NOW - 5, NEXT_CHAIN)
    with pytest.raises(TrustError, match="not a signature of the requested digest"):
        sign(built.artifact, index=PemSigner(NEXT.ec_key).sign(request.digest))
    assert built.artifact.read_bytes() == before


def test_another_key_than_the_certificate_s_changes_nothing(built: World) -> None:
    """S19."""
    before = built.files()
    with open_image(built.artifact) as image, pytest.raises(TrustError, match="does not verify"):
        resign(image, str(built.artifact), Signing(NEXT_CHAIN, NOW, PemSigner(signer().ec_key)), workers=1)
    assert built.files() == before


def test_an_old_image_is_refused_where_the_policy_says_so(built: World) -> None:
    """S16."""
    newer = built.folder / "dist/newer.zip"
    sign(built.artifact, newer)
    for policy in (
        TrustPolicy(anchors=pki.anchors(), not_before=NOW),
        TrustPolicy(anchors=pki.anchors(), max_age=DAY // 2),
    ):
        with open_image(newer) as image:
            verify_sign(image, policy, NOW)
        with open_image(built.artifact) as image, pytest.raises(TrustError, match="too old"):
            verify_sign(image, policy, NOW)


# Half-signed states (S20).


@pytest.mark.parametrize(
    ("names", "noticed"),
    [
        ({"index.json"}, "two signings"),
        ({"index.jwt"}, "two signings"),
        ({"index.json", "index.jwt", "certificate.pem"}, None),
        ({"metadata.jwt"}, None),
        ({"index.json", "index.jwt"}, None),
    ],
)
def test_a_mix_of_two_signings_is_noticed_and_repaired(built: World, names: set[str], noticed: str | None) -> None:
    """S20: the result of a signing without a rename; the reader refuses it."""
    folder, other = built.folder / "dist/v", built.folder / "dist/other"
    sign(folder, other)
    for name in names:
        shutil.copy(other / name, folder / name)
    with pytest.raises((OtabuildError, AssertionError)):
        check(folder)
    found = sign(folder)
    assert bool(found) == (noticed is not None)
    assert noticed is None or noticed in found[0]
    assert tree(folder) == tree(other)
    signed_by_next(folder)


@pytest.mark.parametrize("damage", ["missing", "empty", "torn", "pair gone", "certificate gone"])
def test_a_signature_that_is_torn_or_gone_is_made_anew(built: World, damage: str) -> None:
    """S20."""
    folder = built.folder / "dist/v"
    if damage == "missing":
        (folder / "index.jwt").unlink()
    elif damage in ("empty", "torn"):
        token = (folder / "index.jwt").read_bytes()
        (folder / "index.jwt").write_bytes(token[: 0 if damage == "empty" else 100])
    else:
        (folder / "certificate.pem").unlink()
        if damage == "pair gone":
            (folder / "metadata.jwt").unlink()
    noticed = sign(folder)
    assert bool(noticed) == (damage in ("missing", "empty", "torn"))
    sign(built.artifact)
    assert tree(folder) == {name: data for name, data in entries(built.artifact).items() if not name.endswith("/")}
    signed_by_next(folder)


@pytest.mark.parametrize("kind", ["artifact", "directory"])
def test_a_signing_that_is_stopped_anywhere_leaves_the_old_image_or_the_new(
    built: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S20: stopped before each change of the file system, as by a full disk; the image always verifies."""
    image = built.artifact if kind == "artifact" else built.folder / "dist/v"

    def content() -> object:
        return image.read_bytes() if image.is_file() else tree(image)

    old, at = content(), 0
    while True:
        seen = 0

        def stop(phase: str, operation: str, path: str) -> None:
            nonlocal seen
            seen += phase == "before"
            if seen == at + 1:  # noqa: B023  (called only during this round)
                raise StorageError(f"cannot {operation}", where=path)

        monkeypatch.setattr(fs, "observer", stop)
        try:
            sign(image)
        except (StorageError, NotVerifiedError):  # or a table that could not be unpacked
            monkeypatch.setattr(fs, "observer", None)
            if content() != old:
                break
        else:
            break
        at += 1
    monkeypatch.setattr(fs, "observer", None)
    assert at > 5
    signed_by_next(image)
    sign(image)
    signed_by_next(image)


# What is not signed.


def test_an_index_that_was_changed_after_it_was_signed_is_not_signed(built: World) -> None:
    index = built.folder / "dist/v/index.json"
    index.write_bytes(index.read_bytes().replace(b"created-at", b"created-At"))
    with pytest.raises((IntegrityError, StateError)):
        sign(built.folder / "dist/v")
    index.write_bytes(index.read_bytes().replace(b"created-At", b"created-at").replace(b"}}", b'},"x":1}', 1))
    before = tree(built.folder / "dist/v")
    with pytest.raises(OtabuildError) as caught:
        sign(built.folder / "dist/v")
    assert "changed after it was signed" in str(caught.value)
    assert tree(built.folder / "dist/v") == before


@pytest.mark.parametrize("unchecked", [False, True])
@pytest.mark.parametrize("what", ["blob", "legacy file", "strange file"])
def test_a_damaged_image_is_not_signed(built: World, what: str, unchecked: bool) -> None:
    folder = built.folder / "dist/v"
    if what == "blob":
        victim = next((folder / "blobs/sha256").iterdir())
        victim.write_bytes(b"x" * victim.stat().st_size)
    elif what == "legacy file":
        victim = folder / "data/opt/ota/otaclient_release/otaclient-arm64.squashfs"
        victim.write_bytes(b"x" * victim.stat().st_size)
    else:
        (folder / "notes.txt").write_text("x")
    before = tree(folder)
    with pytest.raises(IntegrityError):
        sign(folder, unchecked=unchecked)
    assert {name: data for name, data in tree(folder).items() if "tmp" not in name} == before


def test_an_image_that_is_not_finalized_is_not_signed(built: World) -> None:
    index = built.folder / "dist/v/index.json"
    index.write_bytes(re.sub(rb'"vnd\.tier4\.ota\.image\.created-at":\d+,', b"", index.read_bytes()))
    with pytest.raises(StateError, match="not finalized"):
        sign(built.folder / "dist/v")


def test_every_byte_of_a_foreign_index_stays() -> None:
    """Unknown fields, spaces and order belong to somebody else."""
    index = b'{ "x" : 1,\n "annotations":{"vnd.tier4.ota.image.signed-at" : 5 , "a":"\\u00e9"}, "manifests" : [ ] }'
    assert index_signed_at(index, 7) == index.replace(b": 5 ,", b": 7 ,")


@pytest.mark.parametrize(
    "index",
    [
        b'{"annotations":{}}',
        b'{"annotations":{"vnd.tier4.ota.image.signed\\u002dat":5,"vnd.tier4.ota.image.created-at":5}}',
        b'{"annotations":{"vnd.tier4.ota.image.created-at":5},"x":{"vnd.tier4.ota.image.created-at":5}}',
        b'{"annotations":{},"x":{"vnd.tier4.ota.image.signed-at":5}}',
    ],
)
def test_an_index_whose_time_cannot_be_set_in_place_is_refused(index: bytes) -> None:
    with pytest.raises(FormatError):
        index_signed_at(index, 7)


@has_fixtures
def test_an_image_of_the_reference_builder_is_signed_anew(tmp_path: Path) -> None:
    image = tmp_path / "reference.zip"
    shutil.copy(REFERENCE, image)
    now = 1_795_000_000
    with zipfile.ZipFile(image) as archive:
        before = {name: archive.read(name) for name in archive.namelist()}
    sign(image, at=now)
    after = entries(image)
    assert {name for name in before if before[name] != after[name]} == SIGNATURE
    with open_image(image) as opened:
        report = verify_sign(opened, TrustPolicy(anchors=pki.anchors()), now)
    assert report.issued_at == now


def test_an_image_behind_a_link(built: World) -> None:
    link, output = built.folder / "link.zip", built.folder / "signed.zip"
    link.symlink_to(built.artifact)
    sign(link, output)
    signed_by_next(output)


def test_an_image_that_lost_a_blob_is_not_signed(built: World) -> None:
    folder = built.folder / "dist/v"
    min((folder / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size).unlink()
    before = tree(folder)
    with pytest.raises(IntegrityError, match="blobs-count"):
        sign(folder, unchecked=True)
    assert tree(folder) == before
