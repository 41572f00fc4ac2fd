"""Deploying the difference: what old trees have is taken from them, the rest is fetched, and the result is the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otabuild.comparison.cost import cost
from otabuild.deployment.contents import Transfer
from otabuild.deployment.deploy import deploy
from otabuild.deployment.deploy_checks import Deployed
from otabuild.deployment.deploy_tar import deploy_tar
from otabuild.deployment.kept_blobs import keeping
from otabuild.deployment.old_trees import OldTrees
from otabuild.errors import InputError, StateError, StoreError
from otabuild.format.compat import STRICT
from otabuild.format.digest import blob_name
from otabuild.image.image import Image, open_image
from otabuild.storage import fs
from otabuild.stores.store import Store
from otabuild.stores.store_backend import StoreBackend
from tests.image.products import Tree, build, noise, update_pair
from tests.image.worlds import IS_ROOT
from tests.stores.fault_proxy import Exchange, fault_proxy, gathers, pass_on
from tests.stores.images import put_release, stored_members
from tests.stores.memory_store import MemoryStore
from tests.stores.servers import needs_nginx, nginx

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")


BASE, NEW = update_pair(9 << 20)
NEW["moved/large"] = BASE["usr/large"]
HELD = sum(map(len, {content for content in NEW.values() if len(content) > 64} & set(BASE.values())))
"""Bytes of the contents of NEW that BASE has, and that are not inlined."""
FORMS = ["tree", "tar"]
UNSIGNED: dict[str, Any] = {"insecure_no_verify": True}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    return build(folder / "base", BASE), build(folder / "new", NEW)


@pytest.fixture
def old(pair: tuple[Path, Path], tmp_path: Path) -> Path:
    """The base, deployed."""
    with open_image(pair[0]) as image:
        deploy(image.payload("main"), tmp_path / "old", None, 0, **UNSIGNED)
    return tmp_path / "old"


def deploy_as(form: str, image: Image, target: Path, **options: Any) -> Deployed:
    act = deploy if form == "tree" else deploy_tar
    return act(image.payload("main"), target, None, 0, **UNSIGNED, **options)


def same(form: str, path: Path, image: Path) -> bool:
    """Whether a target is what a deployment without old trees makes."""
    plain = path.with_name("plain")
    with open_image(image) as opened:
        deploy_as(form, opened, plain)
    if form == "tar":
        return plain.read_bytes() == path.read_bytes()
    return snapshot(plain) == snapshot(path)


def snapshot(tree: Path) -> dict[str, tuple[Any, ...]]:
    def one(path: str) -> tuple[Any, ...]:
        status = os.lstat(path)
        content = Path(path).read_bytes() if os.path.isfile(path) else b""
        return status.st_mode, status.st_uid, status.st_gid, status.st_nlink, content

    names = [os.path.join(folder, name) for folder, folders, files in os.walk(tree) for name in folders + files]
    return {os.path.relpath(name, tree): one(name) for name in names}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("with_image", [True, False], ids=["by-table", "by-search"])
def test_what_the_old_tree_has_is_reused_and_the_rest_is_what_cost_tells(
    form: str, with_image: bool, pair: tuple[Path, Path], old: Path, tmp_path: Path
) -> None:
    before = snapshot(old)
    with open_image(pair[0]) as base, open_image(pair[1]) as new:
        due = cost(base, new, "main")
        with OldTrees([old], [base] if with_image else []) as trees:
            done = deploy_as(form, new, tmp_path / "new", reuse=trees)
    transfer = transfer_of(done)
    assert transfer.planned == transfer.fetched == (due.total_requests, due.total)
    assert transfer.reused_bytes == HELD
    assert transfer.reused_contents == due.resources - due.changed
    assert same(form, tmp_path / "new", pair[1])
    assert snapshot(old) == before


def transfer_of(done: Deployed) -> Transfer:
    assert done.transfer is not None
    return done.transfer


def damage_content(old: Path) -> None:
    (old / "usr/large").write_bytes(noise(5, 9 << 20))


def damage_one_byte(old: Path) -> None:
    with (old / "etc/003").open("r+b") as file:
        file.write(b"\0")


def damage_size(old: Path) -> None:
    os.truncate(old / "usr/large", 5)


def remove(old: Path) -> None:
    shutil.rmtree(old / "etc")


def become_link(old: Path) -> None:
    content = (old / "etc/003").read_bytes()
    (old / "else").write_bytes(content)
    (old / "etc/003").unlink()
    (old / "etc/003").symlink_to("../else")


def become_fifo(old: Path) -> None:
    (old / "etc/003").unlink()
    os.mkfifo(old / "etc/003")


def become_folder_link(old: Path) -> None:
    (old / "etc").rename(old / "etc2")
    (old / "etc").symlink_to("etc2")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "harm", [damage_content, damage_one_byte, damage_size, remove, become_link, become_fifo, become_folder_link]
)
def test_what_the_old_tree_does_not_have_any_more_is_fetched(
    harm: Any, form: str, pair: tuple[Path, Path], old: Path, tmp_path: Path
) -> None:
    harm(old)
    with open_image(pair[0]) as base, open_image(pair[1]) as new, OldTrees([old], [base]) as trees:
        done = transfer_of(deploy_as(form, new, tmp_path / "new", reuse=trees))
    assert done.reused_bytes < HELD
    assert done.fetched.bytes >= done.planned.bytes
    assert same(form, tmp_path / "new", pair[1])


def test_a_tree_that_changes_while_it_is_read_gives_no_wrong_byte(
    pair: tuple[Path, Path], old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_range = fs.copy_range

    def changing(source: int, target: int, offset: int, size: int, path: fs.StrPath) -> int:
        done = copy_range(source, target, offset, min(size, 100), path)
        (old / "usr/large").write_bytes(noise(6, 9 << 20))
        return done

    with open_image(pair[1]) as new, OldTrees([old]) as trees:
        monkeypatch.setattr(fs, "copy_range", changing)
        deploy_as("tree", new, tmp_path / "new", reuse=trees)
    assert same("tree", tmp_path / "new", pair[1])


def test_a_second_tree_gives_what_the_first_has_lost(pair: tuple[Path, Path], old: Path, tmp_path: Path) -> None:
    shutil.copytree(old, tmp_path / "copy")
    remove(old)
    damage_one_byte(tmp_path / "copy")
    both = [old, tmp_path / "copy"]
    with open_image(pair[0]) as base, open_image(pair[1]) as new, OldTrees(both, [base]) as trees:
        done = transfer_of(deploy_as("tree", new, tmp_path / "new", reuse=trees))
    assert done.reused_bytes == HELD - 500
    assert same("tree", tmp_path / "new", pair[1])


def test_hard_links_and_copies_are_as_in_the_payload(tmp_path: Path) -> None:
    tree: Tree = {"a": noise(1, 5000), "b": noise(1, 5000), "c": noise(2, 5000)}
    image = build(tmp_path / "image", tree)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "one").write_bytes(noise(1, 5000))
    with open_image(image) as opened, OldTrees([tmp_path / "old"]) as trees:
        done = transfer_of(deploy_as("tree", opened, tmp_path / "new", reuse=trees))
    assert (done.reused_contents, done.reused_bytes) == (1, 5000)
    assert same("tree", tmp_path / "new", image)


def test_a_tree_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        OldTrees([tmp_path / "nowhere"])


class BreakingStore(MemoryStore):
    """Fails after a number of bytes were given."""

    left = 1 << 60

    def chunks(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        for chunk in super().chunks(key, start, end):
            for at in range(0, len(chunk), 1000):
                if self.left <= 0:
                    raise StoreError("the network is gone", where=key)
                self.left -= 1000
                yield chunk[at : at + 1000]


def remote(store: Store) -> Image:
    return Image(StoreBackend("memory:1.0", store, "releases/1.0"), STRICT)


@pytest.fixture
def store(pair: tuple[Path, Path]) -> BreakingStore:
    made = BreakingStore()
    put_directory(made, pair[1])
    return made


def put_directory(store: Store, image: Path) -> None:
    with open_image(image) as opened:
        put_release(store, stored_members(opened))


@pytest.mark.parametrize("form", FORMS)
def test_a_remote_image_gives_what_cost_tells(
    form: str, pair: tuple[Path, Path], old: Path, store: BreakingStore, tmp_path: Path
) -> None:
    with open_image(pair[0]) as base, remote(store) as new, OldTrees([old], [base]) as trees:
        done = transfer_of(deploy_as(form, new, tmp_path / "new", reuse=trees))
    with open_image(pair[0]) as base, open_image(pair[1]) as new:
        due = cost(base, new, "main")
    assert done.planned == (due.total_requests, due.total)
    assert done.fetched == done.planned
    assert same(form, tmp_path / "new", pair[1])
    assert sorted(os.listdir(tmp_path)) == ["new", "old", "plain"]


@pytest.mark.parametrize("form", FORMS)
def test_what_broke_off_goes_on_where_it_was(
    form: str, pair: tuple[Path, Path], store: BreakingStore, tmp_path: Path
) -> None:
    step, runs, fetched = 2_000_000, 0, 0
    while True:
        runs += 1
        store.left, store.traffic.bytes = step, 0
        try:
            with remote(store) as new:
                done = transfer_of(deploy_as(form, new, tmp_path / "new"))
        except StoreError:
            fetched += store.traffic.bytes
            assert sorted(os.listdir(tmp_path)) == [".new.otabuild-fetched"]
            continue
        break
    assert runs > 3
    assert fetched + done.fetched.bytes < done.planned.bytes + runs * (1 << 20)  # the store counts what was on its way
    assert same(form, tmp_path / "new", pair[1])
    assert sorted(os.listdir(tmp_path)) == ["new", "plain"]


@pytest.mark.parametrize("harm", ["rot", "longer", "shorter", "other"])
def test_what_a_run_left_is_believed_by_its_digest_only(
    harm: str, pair: tuple[Path, Path], store: BreakingStore, tmp_path: Path
) -> None:
    store.left = 5_000_000
    with pytest.raises(StoreError), remote(store) as new:
        deploy_as("tree", new, tmp_path / "new")
    for path in (tmp_path / ".new.otabuild-fetched").iterdir():
        content = path.read_bytes()
        changed = {"rot": content[:-1] + b"\0", "longer": content + b"x" * 99, "shorter": content[:-1], "other": b"?"}
        path.write_bytes(changed[harm])
    store.left = 1 << 60
    with remote(store) as new:
        deploy_as("tree", new, tmp_path / "new")
    assert same("tree", tmp_path / "new", pair[1])


def test_a_folder_of_somebody_else_is_not_used(store: BreakingStore, tmp_path: Path) -> None:
    (tmp_path / ".new.otabuild-fetched").mkdir()
    os.chown(tmp_path / ".new.otabuild-fetched", 1234, 1234)
    with pytest.raises(StateError, match="somebody else"), remote(store) as new:
        deploy_as("tree", new, tmp_path / "new")


def test_two_deployments_to_one_target_do_not_mix(store: BreakingStore, tmp_path: Path) -> None:
    target, another = tmp_path / "new", pytest.raises(StateError, match="another deployment")
    with remote(store) as one, keeping(one, str(target)), remote(store) as new, another:
        deploy_as("tree", new, target)


def interrupted(store: BreakingStore, form: str, target: Path) -> Path:
    """Break a deployment off; return the folder that it leaves."""
    store.left = 5_000_000
    with pytest.raises(StoreError), remote(store) as new:
        deploy_as(form, new, target)
    store.left = 1 << 60
    kept = target.with_name(f".{target.name}.otabuild-fetched")
    assert kept.is_dir()
    return kept


@pytest.mark.parametrize("form", FORMS)
def test_a_deployment_from_this_machine_leaves_nothing_of_a_remote_one_that_broke_off(
    form: str, pair: tuple[Path, Path], store: BreakingStore, tmp_path: Path
) -> None:
    interrupted(store, form, tmp_path / "new")
    with open_image(pair[1]) as new:
        deploy_as(form, new, tmp_path / "new")
    assert os.listdir(tmp_path) == ["new"]


def test_what_was_left_beside_a_tree_that_is_in_place_is_removed(store: BreakingStore, tmp_path: Path) -> None:
    kept = interrupted(store, "tree", tmp_path / "new")
    (tmp_path / "new").mkdir()  # as the killed run made it just before it would have removed the folder
    with pytest.raises(StateError, match="exists"), remote(store) as new:
        deploy_as("tree", new, tmp_path / "new")
    assert not kept.exists()


def test_what_another_deployment_is_fetching_is_not_removed(store: BreakingStore, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with remote(store) as one, keeping(one, str(tmp_path / "new")), remote(store) as new:
        with pytest.raises(StateError, match="exists"):
            deploy_as("tree", new, tmp_path / "new")
        assert (tmp_path / ".new.otabuild-fetched").is_dir()


@needs_nginx
def test_the_file_table_is_asked_for_before_the_config_is_there(tmp_path: Path) -> None:
    both = gathers(2)

    def fault(exchange: Exchange) -> None:
        (both if len(proxy.seen) in (3, 4) else pass_on)(exchange)  # after index.json and manifest

    build(tmp_path / "image", NEW, **{"output-dir": "served/image"})
    (tmp_path / "server").mkdir()
    with nginx(tmp_path / "server", tmp_path / "image/served") as address, fault_proxy(address) as proxy:
        proxy.fault = fault
        with open_image(f"{proxy.address}/image") as image:
            deploy_as("tree", image, tmp_path / "new")
            table = image.payload("main").manifest.file_table
        assert any(blob_name(table.digest) in request for request in proxy.seen[2:4])


@needs_nginx
def test_sixteen_blobs_are_asked_for_at_once(tmp_path: Path) -> None:
    contents: Tree = {f"{number:02}": noise(number, 20_000) for number in range(32)}  # each is a blob of its own
    build(tmp_path / "image", contents, **{"output-dir": "served/image"})
    (tmp_path / "server").mkdir()
    with nginx(tmp_path / "server", tmp_path / "image/served") as address, fault_proxy(address) as proxy:
        with open_image(f"{proxy.address}/image") as image:
            proxy.fault, proxy.after = gathers(16), 5  # index.json, manifest, config, and both tables
            done = transfer_of(deploy_as("tree", image, tmp_path / "new"))
        assert done.fetched.requests == len(proxy.seen) == 5 + len(contents) + 1  # index.jwt is missing
