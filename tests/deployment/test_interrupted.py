"""An update over a network that is killed, cut off and whose server starts again: it goes on, and the tree is right."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from otabuild.comparison.cost import cost
from otabuild.deployment.deploy import deploy
from otabuild.image.image import open_image
from tests.image.products import Tree, build
from tests.image.worlds import IS_ROOT, describe
from tests.stores.servers import needs_nginx, nginx

pytestmark = [pytest.mark.skipif(not IS_ROOT, reason="needs root"), needs_nginx]

SLOW = "limit_rate 3m;"
OLD: Tree = {"etc/a": b"a" * 700, "usr/kept": random.Random(0).randbytes(3 << 20)}
NEW: Tree = OLD | {f"usr/new{number}": random.Random(number).randbytes(1_500_000) for number in range(1, 9)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the `base` and the `new` image, the tree of the base as `old`, and the right tree as `right`."""
    folder = tmp_path_factory.mktemp("world")
    for name, tree, target in (("base", OLD, "old"), ("new", NEW, "right")):
        with open_image(build(folder / name, tree, **{"output-dir": "image"})) as image:
            deploy(image.payload("main"), folder / target, None, 0, insecure_no_verify=True)
    return folder


class Update:
    """The same command, started again and again."""

    def __init__(self, world: Path, target: Path, url: str) -> None:
        self.kept = target.parent / f".{target.name}.otabuild-fetched"
        self._command = [sys.executable, "-m", "otabuild", "deploy-image", "--image", url, "--rootfs-dir", str(target)]
        self._command += ["--ecu-id", "main", "--insecure-no-verify", "--json", "--reuse", str(world / "old")]
        self._environ = {**os.environ, "OTABUILD_TIMEOUT": "60"}

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )

    def fetched(self) -> int:
        """Return the bytes that the next run will find."""
        total = 0
        for path in self.kept.glob("*"):
            with suppress(FileNotFoundError):  # a part becomes a whole blob just now
                total += path.stat().st_size
        return total

    def finish(self) -> dict[str, Any]:
        process = self.start()
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
        found: dict[str, Any] = json.loads(output)
        return found


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.sweep) for seed in range(2, 32))])
def test_an_update_that_is_killed_again_and_again_fetches_only_what_is_missing(
    seed: int, world: Path, tmp_path: Path
) -> None:
    chance, kills = random.Random(seed), 0
    (tmp_path / "server").mkdir()
    with nginx(tmp_path / "server", world / "new", server=SLOW) as address:
        update = Update(world, tmp_path / "tree", f"{address}/image")
        while kills < 10 and not (tmp_path / "tree").exists():
            before = update.fetched()
            process = update.start()
            wait_for_more(update, process, before + chance.randrange(1_500_000))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            assert update.fetched() >= before or (tmp_path / "tree").exists()
        if (tmp_path / "tree").exists():
            return
        there = update.fetched()
        done = update.finish()
    assert done["fetched"]["bytes"] <= done["planned"]["bytes"] - there + 20_000  # index.json again, and no more
    check(world, tmp_path, done)


def wait_for_more(update: Update, process: subprocess.Popen[bytes], size: int) -> None:
    while process.poll() is None and update.fetched() < size:
        time.sleep(0.01)


def check(world: Path, tmp_path: Path, done: dict[str, Any]) -> None:
    with open_image(world / "base/image") as base, open_image(world / "new/image") as new:
        due = cost(base, new, "main")
    assert done["planned"] == {"requests": due.total_requests, "bytes": due.total}
    assert describe(tmp_path / "tree") == describe(world / "right")
    assert sorted(os.listdir(tmp_path)) == ["server", "tree"]


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.sweep) for seed in range(2, 12))])
def test_a_server_that_starts_again_is_waited_for(seed: int, world: Path, tmp_path: Path) -> None:
    chance = random.Random(seed)
    (tmp_path / "server").mkdir()
    with ExitStack() as stack:
        address = stack.enter_context(nginx(tmp_path / "server", world / "new", server=SLOW))
        port = int(address.rpartition(":")[2])
        update = Update(world, tmp_path / "tree", f"{address}/image")
        process = update.start()
        for _ in range(3):
            wait_for_more(update, process, update.fetched() + chance.randrange(3_000_000))
            stack.close()
            stack.enter_context(nginx(tmp_path / "server", world / "new", server=SLOW, port=port))
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    check(world, tmp_path, json.loads(output))
