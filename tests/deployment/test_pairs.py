"""Ten pairs of images: the deployed difference is the new tree, and costs what `cost` tells, by the count of servers, too."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from otabuild.comparison.cost import cost
from otabuild.deployment.deploy import deploy
from otabuild.deployment.old_trees import OldTrees
from otabuild.image.image import open_image
from otabuild.signing.demo_pki import write_demo_pki
from otabuild.signing.trust import TrustPolicy, load_anchors
from otabuild.stores.open_store import open_store
from tests.image.products import NOW, Tree, build
from tests.image.worlds import IS_ROOT, describe
from tests.stores.images import put_release, stored_members
from tests.stores.servers import BUCKET, aws_environ, needs_nginx, needs_seaweedfs, nginx

pytestmark = pytest.mark.skipif(not IS_ROOT, reason="needs root")

BASIC: Tree = {
    **{f"etc/{n:02}": random.Random(n).randbytes(400 + n) for n in range(40)},
    **{f"usr/lib/{n}": b"%d of a library " % n * 9000 for n in range(12)},
    "usr/large": random.Random(50).randbytes(3 << 20),
    "bin": "usr/bin",
    "tiny": b"t",
    "empty": b"",
}
CHANGED: Tree = BASIC | {
    "etc/07": b"changed " * 60,
    "usr/lib/3": b"another library " * 9000,
    "usr/large": BASIC["usr/large"][:-1] + b"?",
    "usr/new": random.Random(51).randbytes(70_000),
    "tiny": b"u",
}
NASTY: Tree = {
    "line\nbreak/\u00e4 \u202e/\U0001f600": b"names " * 40,
    "n" * 255: b"long name " * 30,
    "deep/" * 60 + "file": b"deep " * 50,
    "set/uid": (b"setuid " * 20, 0o4755),
    "set/gid": (b"setgid " * 20, 0o2711),
    "set/sticky": (None, 0o1777),
    "mode/none": (b"nobody reads this " * 9, 0o000),
    "links/one": b"linked " * 700,
    "=links/two": "links/one",
    "=deep/three": "links/one",
    "copies/a": b"copied " * 700,
    "copies/b": (b"copied " * 700, 0o600),
    "inlined": b"i" * 64,
    "not-inlined": b"n" * 65,
    "zeros": bytes(300_000),
    "to/nowhere": "../../../nowhere",
    "to/itself": "itself",
    "empty": b"",
}


class Side(NamedTuple):
    """What an image is made of."""

    tree: Tree
    options: dict[str, Any]


def side(tree: Tree, *, owner: str = "0:0", **storage: Any) -> Side:
    return Side(tree, {"rootfs": {"owner": owner}, **({"storage": storage} if storage else {})})


def edited(tree: Tree, seed: int) -> Tree:
    """Change, remove, move and add some files of a tree; links stay."""
    chance, found = random.Random(seed), dict(tree)
    linked = {value for value in tree.values() if isinstance(value, str)}
    files = [path for path, value in tree.items() if isinstance(value, bytes) and value and path not in linked]
    for path in chance.sample(files, len(files) // 4):
        content = found.pop(path)
        match chance.randrange(4):
            case 0:
                at = chance.randrange(len(content))
                found[path] = content[:at] + chance.randbytes(chance.randrange(200)) + content[at + 1 :]
            case 1:
                found[f"moved/{chance.random()}"] = content
            case 2:
                found |= {path: content, f"added/{chance.random()}": content * 2}
    return found


def moved(tree: Tree) -> Tree:
    return {path.replace("usr/", "opt/vendor/").replace("etc/", "usr/etc/"): value for path, value in tree.items()}


PAIRS: dict[str, tuple[Side, Side]] = {
    "update": (side(BASIC), side(CHANGED)),
    "the way back": (side(CHANGED), side(BASIC)),
    "nasty": (side(NASTY), side(NASTY | {"inlined": b"o" * 65, "zeros": bytes(300_001), "to/itself": b"not " * 40})),
    "from nasty to basic": (side(NASTY), side(BASIC)),
    "random edits, 1": (side(BASIC), side(edited(BASIC, 1))),
    "random edits, 2": (side(BASIC | NASTY), side(edited(BASIC | NASTY, 2))),
    "another profile": (side(BASIC), side(CHANGED, profile="size")),
    "other bundles": (side(CHANGED), side(CHANGED, **{"bundle-size": "4KiB", "bundle-member-max": "1KiB"})),
    "moved folders": (side(BASIC), side(moved(BASIC))),
    "other owners": (side(BASIC), side(BASIC, owner="1000:1000")),
}


class World:
    """The images of a pair, the tree of the old one, and the new tree as it must be."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, keys = folder, folder / "images/pki"
        write_demo_pki(str(keys), NOW)
        sign: dict[str, Any] = {"certificate": str(keys / "sign.pem"), "chain": [str(keys / "intermediate.pem")]}
        sign["key"] = {"file": str(keys / "sign.key")}
        self.policy = TrustPolicy(anchors=load_anchors([str(keys / "root-ca.pem")]))
        for role, (tree, options) in zip(("old", "new"), PAIRS[name], strict=True):
            built = build(folder / "images" / role, tree, sign=sign, **options, **{"output-dir": "image"}).with_name(
                "image"
            )
            with open_image(built) as image:
                deploy(image.payload("main"), folder / role, self.policy, NOW)
        self.before = describe(folder / "old")

    def image(self, role: str) -> Path:
        return self.folder / "images" / role / "image"

    def update(self, url: str) -> tuple[int, int]:
        """Deploy the new image from a URL over the old tree, and check it; return requests and bytes of `cost`."""
        target = self.folder / "updated"
        with (
            open_image(self.image("old")) as base,
            open_image(url) as new,
            OldTrees([self.folder / "old"], [base]) as old,
        ):
            done = deploy(new.payload("main"), target, self.policy, NOW, reuse=old).transfer
        with open_image(self.image("old")) as base, open_image(self.image("new")) as new:
            due = cost(base, new, "main")
        assert done is not None
        assert done.planned == done.fetched == (due.total_requests, due.total)
        assert describe(target) == describe(self.folder / "new")
        assert describe(self.folder / "old") == self.before
        assert sorted(os.listdir(self.folder)) == ["images", "new", "old", "updated"]
        return due.total_requests, due.total


@pytest.fixture
def world(tmp_path: Path) -> Callable[[str], World]:
    (tmp_path / "world").mkdir()
    return lambda name: World(tmp_path / "world", name)


@needs_nginx
@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_behind_a_web_server(pair: str, world: Callable[[str], World], tmp_path: Path) -> None:
    made, folder = world(pair), tmp_path / "server"
    folder.mkdir()
    with nginx(folder, made.folder / "images/new") as address:
        due = made.update(f"{address}/image")
    answers = [line.split('"')[2].split() for line in (folder / "access.log").read_text().splitlines()]
    sizes = [int(size) for status, size in answers if status in {"200", "206"}]
    assert (len(sizes), sum(sizes)) == due


@needs_seaweedfs
@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_in_a_bucket(
    pair: str, world: Callable[[str], World], seaweedfs_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in aws_environ(seaweedfs_address).items():
        monkeypatch.setenv(variable, value)
    made, url = world(pair), f"s3://{BUCKET}/{pair.replace(' ', '-')}"
    with open_image(made.image("new")) as image:
        put_release(open_store(url), stored_members(image))
    made.update(f"{url}/releases/1.0")
