"""Publishes, lists, withdraws and prunes, by the commands and from Python, in folders and in memory."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otabuild.api import publish
from otabuild.errors import FormatError, InputError, NotVerifiedError, StateError, StoreError
from otabuild.image.image import open_image
from otabuild.releases import publish as publishing
from otabuild.releases.checked_image import checked_contents
from otabuild.releases.layout import ReleaseId
from otabuild.releases.listing import list_store, show_release
from otabuild.releases.prune import Pruning, plan, prune
from otabuild.releases.publish import ReleaseContents
from otabuild.releases.store_survey import State
from otabuild.storage.member import Member, document
from otabuild.stores.folder_store import FolderStore
from otabuild.stores.store import StoreFile
from otabuild.verification.verify import verify
from tests import pki
from tests.image.forge import RANDOM, policy
from tests.releases.worlds import image
from tests.stores.memory_store import MemoryStore

AT_ONCE = Pruning(grace=0)


def contents(path: Path) -> ReleaseContents:
    with open_image(path) as opened:
        found = checked_contents(opened, pki.NOW, unsigned=True)
        blobs = {digest: held(member) for digest, member in found.blobs.items()}
        return ReleaseContents(found.index, found.token, blobs, tuple(map(held, found.documents)))


def held(member: Member) -> Member:
    """Return a file whose bytes are in memory, because the image will be closed."""
    return document(member.name, b"".join(member.read()))


def published(store: MemoryStore, name: str, release: ReleaseContents) -> ReleaseId:
    publishing.publish(store, name, release)
    return ReleaseId(name, hashlib.sha256(release.index).digest())


@pytest.fixture
def first(tmp_path: Path) -> ReleaseContents:
    return contents(image(tmp_path / "first.zip"))


@pytest.fixture
def second(tmp_path: Path) -> ReleaseContents:
    return contents(image(tmp_path / "second.zip", "2.0", hostname="other"))


class Recording(MemoryStore):
    """Notes what was put and deleted, and may fail at a key."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[tuple[str, str]] = []
        self.fails_at = "nothing"

    def put(self, key: str, member: Member) -> None:
        if self.fails_at in key:
            raise StoreError("the wire is cut", where=key)
        super().put(key, member)
        self.changes.append(("put", key))

    def delete(self, key: str) -> None:
        if self.fails_at in key:
            raise StoreError("the wire is cut", where=key)
        super().delete(key)
        self.changes.append(("delete", key))

    @property
    def blobs(self) -> set[str]:
        return {key for key in self.held if key.startswith("blobs/")}


def test_the_claim_is_first_and_the_signature_last(first: ReleaseContents) -> None:
    store = Recording()
    done = publishing.publish(store, "1.0", first)
    puts = [key for what, key in store.changes if what == "put"]
    assert puts[0] == ReleaseId("1.0", hashlib.sha256(first.index).digest()).claim
    assert puts[-2:] == ["releases/1.0/index.json", "releases/1.0/index.jwt"]
    assert all(key.startswith("blobs/") for key in puts[1 : 1 + len(first.blobs)])
    assert done.uploaded == done.blobs == len(first.blobs) == len(store.blobs)


def test_only_what_is_missing_is_uploaded(first: ReleaseContents, second: ReleaseContents) -> None:
    store = Recording()
    publishing.publish(store, "1.0", first)
    told: list[tuple[int, int]] = []
    done = publishing.publish(store, "2.0", second, progress=lambda *amounts: told.append(amounts))
    new = second.blobs.keys() - first.blobs.keys()
    assert done.uploaded == len(new) < len(second.blobs)
    assert done.uploaded_size == sum(second.blobs[digest].size for digest in new) == told[-1][0] == told[-1][1]


def test_the_same_again_uploads_nothing(first: ReleaseContents) -> None:
    store = Recording()
    publishing.publish(store, "1.0", first)
    store.changes.clear()
    assert publishing.publish(store, "1.0", first).was_there
    assert store.changes == []


def test_other_bytes_under_the_name_are_an_error(first: ReleaseContents, second: ReleaseContents) -> None:
    store = Recording()
    publishing.publish(store, "1.0", first)
    store.changes.clear()
    with pytest.raises(StateError, match="published, with other bytes"):
        publishing.publish(store, "1.0", second)
    with pytest.raises(StateError, match="published, with other bytes"):
        publishing.publish(store, "1.0", ReleaseContents(first.index, b"another token", first.blobs, ()))
    assert store.changes == []


def test_the_next_run_uploads_what_is_left(first: ReleaseContents) -> None:
    store = Recording()
    blobs = [member.name for member in first.blobs.values()]
    store.fails_at = blobs[len(blobs) // 2]
    with pytest.raises(StoreError):
        publishing.publish(store, "1.0", first, workers=1)
    there = store.blobs
    assert there
    assert [one.release.state for one in list_store(store).releases] == [State.UNFINISHED]
    store.fails_at = "nothing"
    done = publishing.publish(store, "1.0", first)
    assert done.uploaded == len(blobs) - len(there)
    assert [one.release.state for one in list_store(store).releases] == [State.PUBLISHED]


def test_a_rest_of_another_size_is_uploaded_again(first: ReleaseContents) -> None:
    store = Recording()
    store.fails_at = "index.json"
    with pytest.raises(StoreError):
        publishing.publish(store, "1.0", first)
    store.fails_at = "nothing"
    broken = next(iter(first.blobs.values()))
    store.put(broken.name, document(broken.name, b"cut"))
    assert publishing.publish(store, "1.0", first).uploaded == 1
    assert len(b"".join(store.chunks(broken.name))) == broken.size


def test_a_store_that_cannot_be_listed_gets_everything(first: ReleaseContents, second: ReleaseContents) -> None:
    class Blind(Recording):
        can_list = False

    store = Blind()
    assert publishing.publish(store, "1.0", first).is_complete_upload
    done = publishing.publish(store, "2.0", second)
    assert done.uploaded == len(second.blobs)
    assert publishing.publish(store, "2.0", second).was_there
    with pytest.raises(StateError, match="published, with other bytes"):
        publishing.publish(store, "1.0", second)


def test_a_list_that_lacks_what_was_written_ends_publishing(first: ReleaseContents) -> None:
    """Some web servers answer as if each folder were empty."""

    class Empty(Recording):
        def files(self, prefix: str) -> Iterator[StoreFile]:
            del prefix
            return iter(())

    with pytest.raises(StoreError, match="not in the list"):
        publishing.publish(Empty(), "1.0", first)


def test_publishing_stops_while_somebody_prunes(first: ReleaseContents) -> None:
    store = Recording()
    store.put("prune/abc", document("", b"me on a host\n"))
    with pytest.raises(StateError, match="somebody is pruning") as error:
        publishing.publish(store, "1.0", first)
    assert "abc: me on a host" in str(error.value)
    waited: list[str] = []

    def pause(why: str) -> bool:
        waited.append(why)
        store.delete("prune/abc")
        return True

    publishing.publish(store, "1.0", first, pause=pause)
    assert waited == ["abc: me on a host"]


def test_a_claim_of_a_stranger_vouches_for_nothing_and_stops_pruning(
    first: ReleaseContents, second: ReleaseContents
) -> None:
    store = Recording()
    id_ = published(store, "1.0", first)
    store.put(id_.claim, document("", b"not a claim"))
    assert publishing.publish(store, "2.0", second).uploaded == len(second.blobs)
    before = {*store.held}
    with pytest.raises(FormatError, match="not a line of a claim"):
        prune(store, AT_ONCE, "p", "me", "now")
    assert {*store.held} == before


@pytest.mark.parametrize("key", ["claims/what", "releases/0.9/index.jwt"])
def test_what_is_not_understood_stops_pruning(key: str, first: ReleaseContents) -> None:
    store = Recording()
    publishing.publish(store, "1.0", first)
    store.put(key, document("", b"?"))
    with pytest.raises(FormatError, match="not written"):
        plan(store, AT_ONCE, 0)
    with pytest.raises(FormatError, match="not written"):
        prune(store, AT_ONCE, "p", "me", "now")
    assert list_store(store).strangers == (key,)
    assert len(store.blobs) == len(first.blobs)


def test_pruning_removes_just_what_no_release_needs(first: ReleaseContents, second: ReleaseContents) -> None:
    store = Recording()
    old = published(store, "1.0", first)
    publishing.publish(store, "2.0", second)
    own = {member.name for digest, member in first.blobs.items() if digest not in second.blobs}
    told = AT_ONCE._replace(names=("1.0",))
    assert show_release(store, "1.0")[0].own_blobs == len(own)
    before = {*store.held}
    planned = plan(store, told, 2**40)
    assert {*store.held} == before
    done = prune(store, told, "p", "me", "now")
    assert done.to_value() == planned.to_value()
    assert (done.withdrawn, done.removed, done.blobs) == ([old], [old], len(own))
    assert before - {*store.held} == own | {old.claim, *(key for key in before if "/1.0/" in key)}
    with pytest.raises(InputError, match="no such release"):
        prune(store, told, "p", "me", "now")


def test_a_withdrawn_release_keeps_its_blobs_until_the_grace_time_is_over(first: ReleaseContents) -> None:
    store = Recording()
    id_ = published(store, "1.0", first)
    prune(store, Pruning(names=("1.0",)), "p", "me", "now")
    assert len(store.blobs) == len(first.blobs)
    assert "releases/1.0/index.jwt" not in store.held
    content, when = store.held[id_.mark]
    store.held[id_.mark] = content, when - 8 * 86_400
    prune(store, Pruning(), "p", "me", "now")
    assert {*store.held} == set()


def test_what_a_slow_publisher_wrote_after_the_survey_goes_with_its_release(first: ReleaseContents) -> None:
    class Late(Recording):
        def files(self, prefix: str) -> Iterator[StoreFile]:
            if prefix == "claims/" and "prune/p" in self.held:
                self.held["releases/1.0/index.json"] = first.index, 0
            return super().files(prefix)

    store = Late()
    publishing.publish(store, "1.0", first)
    for key in [key for key in store.held if key.startswith("releases/")]:
        del store.held[key]
    prune(store, AT_ONCE._replace(unfinished=True), "p", "me", "now")
    assert {*store.held} == set()


def test_what_killed_writers_left_in_a_folder_goes_after_a_day(first: ReleaseContents, tmp_path: Path) -> None:
    store = FolderStore("store", str(tmp_path))
    publishing.publish(store, "1.0", first)
    before = {file.key for file in store.files("")}
    names = ["blobs/sha256/.a.1.otabuild-tmp", "releases/1.0/.index.json.2.otabuild-tmp", "claims/.x.3.otabuild-tmp"]
    for age, name in zip((25, 25, 23), names, strict=True):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age * 3600,) * 2)
    assert {file.key for file in store.files("")} == before
    prune(store, AT_ONCE, "p", "me", "now")
    assert [name for name in names if (tmp_path / name).exists()] == names[2:]
    assert {file.key for file in store.files("")} == before


def test_a_withdrawn_release_can_be_published_again(first: ReleaseContents) -> None:
    store = Recording()
    publishing.publish(store, "1.0", first)
    prune(store, Pruning(names=("1.0",)), "p", "me", "now")
    assert publishing.publish(store, "1.0", first).uploaded == 0
    assert [one.release.state for one in list_store(store).releases] == [State.PUBLISHED]


@pytest.mark.parametrize(
    ("told", "left"),
    [
        (Pruning(keep=2), "bd"),
        (Pruning(keep=0), ""),
        (Pruning(keep=9), "abcd"),
        (Pruning(keep_since=30), "bd"),
        (Pruning(keep=1, keep_since=30), "bd"),
        (Pruning(keep=3, keep_since=40), "bcd"),
        (Pruning(names=("a", "d")), "bc"),
        (Pruning(), "abcd"),
    ],
)
def test_which_releases_are_kept(told: Pruning, left: str, first: ReleaseContents) -> None:
    store = Recording()
    for name, when in (("a", 10), ("b", 40), ("c", 20), ("d", 30)):
        publishing.publish(store, name, first)
        key = f"releases/{name}/index.jwt"
        store.held[key] = store.held[key][0], when
    prune(store, told, "p", "me", "now")
    assert "".join(one.release.id.name for one in list_store(store).releases if one.release.published) == left


def test_a_pruner_that_failed_says_how_to_go_on(first: ReleaseContents) -> None:
    store = Recording()
    publishing.publish(store, "1.0", first)
    store.fails_at = "blobs/"
    with pytest.raises(StoreError, match="--remove-pruner p"):
        prune(store, AT_ONCE._replace(names=("1.0",)), "p", "me", "now")
    assert [pruner.id for pruner in list_store(store).pruners] == ["p"]


def test_an_image_that_is_not_valid_is_not_published(tmp_path: Path) -> None:
    path = image(tmp_path / "image.zip")
    with open_image(path) as opened:
        directory = tmp_path / "image"
        for member in opened.source.members():
            target = directory / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not member.name.endswith("/"):
                target.write_bytes(b"".join(opened.source.chunks(member.name)))
    blob = min((directory / "blobs/sha256").iterdir())
    blob.write_bytes(bytes(len(blob.read_bytes())))
    with pytest.raises(NotVerifiedError):
        publish(directory, str(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_only_what_the_store_lacks_is_hashed(tmp_path: Path, run: Callable[..., Any]) -> None:
    """Blobs that the store has are not taken from the image: what they are there does not matter."""
    run("publish", str(image(tmp_path / "first.zip")), "store")
    second = image(tmp_path / "second.zip", "2.0", hostname="other")
    hashed: list[tuple[int, int]] = []
    done = publish(second, str(tmp_path / "store"), progress=lambda _what: lambda *amounts: hashed.append(amounts))
    assert done.uploaded_size > 0
    verified = hashed[0][1]
    assert done.uploaded_size <= verified < done.size


@pytest.mark.parametrize("shared", [True, False], ids=["that the store has", "that is new"])
def test_a_damaged_blob_is_never_published(shared: bool, tmp_path: Path, run: Callable[..., Any]) -> None:
    run("publish", str(image(tmp_path / "first.zip")), "store")
    second = image(tmp_path / "second.zip", "2.0", hostname="other")
    run("pull", str(second), "-o", "second/")
    folder, there = tmp_path / "second/blobs/sha256", {*os.listdir(tmp_path / "store/blobs/sha256")}
    new = next(name for name in os.listdir(folder) if name not in there)
    harmed = folder / (hashlib.sha256(RANDOM).hexdigest() if shared else new)
    harmed.write_bytes(bytes(harmed.stat().st_size))
    said = run("publish", "second", "store", code=0 if shared else 1)
    if shared:
        assert run("store", "verify", "store", "--json")["ok"]
        run("verify", "store/releases/2.0", "--no-signature")
    else:
        assert "does not match" in said
        assert not (tmp_path / "store/releases/2.0").exists()


def test_an_unsigned_image_is_published_only_if_that_is_meant(run: Callable[..., Any], tmp_path: Path) -> None:
    image(tmp_path / "image.zip", signed=False)
    assert "not signed" in run("publish", "image.zip", "store", code=1)
    assert not (tmp_path / "store").exists()
    run("publish", "image.zip", "store", "--unsigned")
    listed = run("store", "list", "store", "--json")["releases"]
    assert [(one["name"], one["state"], one["signed"]) for one in listed] == [("1.0", "published", False)]
    run("store", "withdraw", "store", "1.0")
    assert not (tmp_path / "store/releases/1.0/index.json").exists()


def test_the_commands(run: Callable[..., Any], tmp_path: Path) -> None:
    image(tmp_path / "first.zip", "1.0")
    image(tmp_path / "second.zip", "2.0", hostname="other")
    done = run("publish", "first.zip", "store", "--json")
    assert (done["name"], done["uploaded"], done["was-there"]) == ("1.0", done["blobs"], False)
    assert "uploaded" in run("publish", "second.zip", "store")
    assert "already" in run("publish", "second.zip", "store")
    assert "other bytes" in run("publish", "second.zip", "store", "--name", "1.0", code=1)
    listed = run("store", "list", "store", "--json")["releases"]
    assert [(one["name"], one["version"], one["state"]) for one in listed] == [
        ("1.0", "1.0", "published"),
        ("2.0", "2.0", "published"),
    ]
    with open_image(tmp_path / "store/releases/2.0") as opened:
        assert verify(opened, policy(), pki.NOW).ok
    shown = run("store", "show", "store", "1.0", "--json")["releases"][0]
    assert 0 < shown["own-blobs"] < shown["claimed-blobs"] == listed[0]["blobs"]
    assert "would withdraw 1.0" in run("store", "withdraw", "store", "1.0", "--dry-run")
    planned = run("store", "prune", "store", "--keep", "1", "--grace", "0", "--dry-run", "--json")
    pruned = run("store", "prune", "store", "--keep", "1", "--grace", "0", "--json")
    assert pruned | {"dry-run": True} == planned
    assert pruned["blobs"] == shown["own-blobs"]
    assert os.listdir(tmp_path / "store/releases") == ["2.0"]
    assert run("store", "list", "store").startswith("2.0  published")
    assert "no such pruner" in run("store", "prune", "store", "--remove-pruner", "../claims/x", code=1)


def test_a_version_may_not_be_a_name(run: Callable[..., Any], tmp_path: Path) -> None:
    image(tmp_path / "image.zip", "release/1")
    assert "not a name for a release" in run("publish", "image.zip", "store", code=1)
    run("publish", "image.zip", "store", "--name", "1")
