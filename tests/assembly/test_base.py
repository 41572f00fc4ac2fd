"""Bundles of an earlier release: taken unchanged, and never believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabuild.assembly.base import Base
from otabuild.assembly.stored import Bundle, BundleMember, StoredContent
from otabuild.errors import IntegrityError
from otabuild.format.digest import Blob
from otabuild.storage.cache import Cache
from otabuild.storage.compress import compress
from tests.assembly.worlds import blob, plain, stored_bytes, text

ONE, TWO = text(100, 1), text(200, 2)
FRAME = compress(ONE + TWO, 3)
MEMBERS = [blob(ONE), blob(TWO)]
PLAIN = Bundle.of(plain(ONE + TWO), MEMBERS)
PACKED = Bundle.of(StoredContent(blob(ONE + TWO), blob(FRAME), (blob(FRAME),)), MEMBERS)
READ = {blob(ONE + TWO): ONE + TWO, blob(FRAME): FRAME}.__getitem__


def test_each_content_is_in_its_bundle() -> None:
    other = Bundle.of(plain(b"other"), [blob(b"other")])
    assert Base([PACKED, other], READ).bundle_of == {
        blob(ONE).digest: 0,
        blob(TWO).digest: 0,
        blob(b"other").digest: 1,
    }


@pytest.mark.parametrize("bundle", [PLAIN, PACKED], ids=["plain", "compressed"])
def test_only_what_is_wanted_is_a_member(tmp_path: Path, bundle: Bundle) -> None:
    with Cache(str(tmp_path)) as cache:
        taken = Base([bundle], READ).take(bundle, [blob(TWO)], cache)
        assert taken == Bundle.with_members(bundle.stored, [BundleMember(blob(TWO), 100)])
        assert stored_bytes(cache, bundle.stored.leaves[0]) == READ(bundle.stored.leaves[0])


@pytest.mark.parametrize("bundle", [PLAIN, PACKED], ids=["plain", "compressed"])
@pytest.mark.parametrize("is_trusted", [True, False])
def test_a_bundle_of_a_trusted_release_is_not_read(tmp_path: Path, bundle: Bundle, *, is_trusted: bool) -> None:
    read: list[Blob] = []

    def reading(leaf: Blob) -> bytes:
        read.append(leaf)
        return READ(leaf)

    base = Base([bundle], reading, is_trusted=is_trusted)
    assert base.is_trusted is is_trusted
    with Cache(str(tmp_path)) as cache:
        settled = base.settle(bundle, [blob(TWO)], cache)
    assert settled == Bundle.with_members(bundle.stored, [BundleMember(blob(TWO), 100)])
    leaves = list(bundle.stored.leaves)
    assert (read, base.taken) == (([], set(leaves)) if is_trusted else (leaves, set()))


def test_a_content_at_another_place_is_refused(tmp_path: Path) -> None:
    lying = Bundle.with_members(PLAIN.stored, [BundleMember(blob(ONE), 0), BundleMember(blob(TWO), 99)])
    with Cache(str(tmp_path)) as cache:
        base = Base([lying], READ)
        base.take(lying, [blob(ONE)], cache)
        with pytest.raises(IntegrityError, match="is not where the resource table says") as caught:
            base.take(lying, [blob(ONE), blob(TWO)], cache)
    assert caught.value.where == f"bundle {blob(ONE + TWO).digest.hex()} of the earlier release"


def test_a_frame_that_comes_in_several_parts_is_one_content(tmp_path: Path) -> None:
    large = text(3 << 20, 3)
    frame = compress(large + ONE, 3)
    stored = StoredContent(blob(large + ONE), blob(frame), (blob(frame),))
    bundle = Bundle.of(stored, [blob(large), blob(ONE)])
    with Cache(str(tmp_path)) as cache:
        assert Base([bundle], {blob(frame): frame}.__getitem__).take(bundle, [blob(large), blob(ONE)], cache) == bundle


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    stored = PACKED.stored._replace(content=PACKED.stored.content._replace(size=299))
    with Cache(str(tmp_path)) as cache, pytest.raises(IntegrityError, match="declares a different size") as caught:
        Base([], READ).take(PACKED._replace(stored=stored), [], cache)
    assert caught.value.where == f"bundle {blob(ONE + TWO).digest.hex()} of the earlier release"
