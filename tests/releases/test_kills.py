"""Publishers and pruners are killed at any request to a real server; the next run completes, and nothing is wrong."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otabuild.stores.open_store import open_store
from tests.releases.worlds import image
from tests.stores.fault_proxy import FaultProxy, fault_proxy
from tests.stores.servers import BUCKET, aws_environ, needs_seaweedfs

Run = Callable[..., Any]
PUBLISH, PRUNE = ("publish", "second.zip"), ("store", "prune")
TOLD = ("--release", "2.0", "--grace", "0")


class World:
    """A store with one release that stays, and another that comes and goes through a proxy that counts requests."""

    def __init__(self, run: Run, store: str, proxy: FaultProxy) -> None:
        self.run, self.store, self.proxy = run, store, proxy
        self.run("publish", "first.zip", store)
        self.kept = self.blobs()

    def blobs(self) -> set[str]:
        return {file.key for file in open_store(self.store).files("blobs/")}

    def start(self, words: tuple[str, ...]) -> subprocess.Popen[bytes]:
        self.proxy.seen.clear()
        environ = {**os.environ, "AWS_ENDPOINT_URL": self.proxy.address}
        command = [sys.executable, "-m", "otabuild", *words]
        return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def length(self, words: tuple[str, ...]) -> int:
        """Return how many requests a whole run takes."""
        assert self.start(words).wait() == 0
        return len(self.proxy.seen)

    def kill(self, words: tuple[str, ...], request: int) -> None:
        """Kill a run while a request is under way, or has just been answered."""
        process = self.start(words)
        while len(self.proxy.seen) < request and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        assert process.wait() in (0, -signal.SIGKILL)

    def check(self, *names: str) -> None:
        """Check that these releases are whole, and that nobody is left pruning."""
        assert self.run("store", "verify", self.store, "--json")["ok"]
        listed = self.run("store", "list", self.store, "--json")
        assert [(one["name"], one["state"]) for one in listed["releases"]] == [(name, "published") for name in names]
        assert (listed["pruners"], listed["strangers"]) == ([], [])

    def publish_again(self) -> None:
        self.run(*PUBLISH, self.store)
        self.check("1.0", "2.0")

    def prune_again(self) -> None:
        listed = self.run("store", "list", self.store, "--json")
        left = [word for pruner in listed["pruners"] for word in ("--remove-pruner", pruner["id"])]
        is_there = any(one["name"] == "2.0" for one in listed["releases"])
        self.run(*PRUNE, self.store, *(TOLD if is_there else TOLD[2:]), *left)
        self.check("1.0")
        assert self.blobs() == self.kept
        assert not [*open_store(self.store).files("releases/2.0/")]


@needs_seaweedfs
@pytest.mark.parametrize("kills", [pytest.param(10, id="some"), pytest.param(200, id="all", marks=pytest.mark.sweep)])
def test_the_next_run_completes_what_was_killed(
    kills: int, seaweedfs_address: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in aws_environ(seaweedfs_address).items():
        monkeypatch.setenv(variable, value)
    image(tmp_path / "first.zip")
    image(tmp_path / "second.zip", "2.0", hostname="other")
    chance, store = random.Random(kills), f"s3://{BUCKET}/kills/{kills}"
    with fault_proxy(seaweedfs_address) as proxy:
        world = World(run, store, proxy)
        requests = world.length((*PUBLISH, store)), world.length((*PRUNE, store, *TOLD))
        assert min(requests) > 10
        for _ in range(kills // 2):
            world.kill((*PUBLISH, store), chance.randint(1, requests[0]))
            world.publish_again()
            world.kill((*PRUNE, store, *TOLD), chance.randint(1, requests[1]))
            world.prune_again()
