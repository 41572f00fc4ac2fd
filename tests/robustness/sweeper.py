"""Stop builds and deployments at their n-th change of the file system, repeatedly, from one warm process.

    sweeper.py WORLD SIGNAL [POINT ...]     in the folder of a project; without points: at every change

For each point the world is reset, a forked child receives the signal at that change, and its result is checked: it must
be completely old or completely new. Then the same work is done again to its end, and must have the same result as in a
clean world, without temporary files. Prints JSON: the number of changes, the number of points tried, and what went
wrong.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from otabuild import api, cli, progress
from otabuild.deployment.deploy import deploy
from otabuild.deployment.deploy_tar import deploy_tar
from otabuild.image.image import open_image
from otabuild.storage import fs

RECIPE = "recipes/vehicle.yaml"
OUTPUTS = (Path("dist/vehicle.zip"), Path("dist/image"))


def digest(path: Path) -> str:
    """Describe a file, or a tree with names, types, modes, links and contents; `missing` if it does not exist."""
    if not os.path.lexists(path):
        return "missing"
    found = hashlib.sha256()
    for item in sorted([path, *path.rglob("*")] if path.is_dir() else [path]):
        state = item.lstat()
        content = os.readlink(item).encode() if item.is_symlink() else item.read_bytes() if item.is_file() else b""
        name = item.relative_to(path) if item != path else ""
        found.update(repr((str(name), state.st_mode, state.st_uid, state.st_gid, state.st_nlink, content)).encode())
    return found.hexdigest()


def fork(act: Callable[[], object], observe: Callable[[int], object] | None = None) -> int:
    """Run in a child; `observe` gets the number of each change. Return its exit code, negative for a signal."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 99
    try:
        numbers = itertools.count(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if observe:
            fs.observer = partial(_tell, observe, numbers)
        act()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 -- a child reports everything, and never returns
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _tell(observe: Callable[[int], object], numbers: Iterator[int], *_change: str) -> None:
    observe(next(numbers))


class World:
    """The work, and its result; `old` and `new` are the digests of the outputs before and after."""

    outputs: tuple[Path, ...] = OUTPUTS

    def __init__(self) -> None:
        self.old, self.new = self.state(), self.state()

    def state(self) -> tuple[str, ...]:
        return tuple(digest(path) for path in self.outputs)

    def reset(self) -> None:
        """Set everything back to what it was before."""

    def act(self) -> None:
        """Do it."""
        progress.silence()
        raise SystemExit(cli.main(["--quiet", "build", RECIPE]))

    def leftovers(self) -> list[str]:
        return sorted(str(path) for path in Path().rglob("*otabuild-tmp*"))


class ColdBuild(World):
    """A first build in an empty work directory, over an artifact and an image directory of an earlier release."""

    def __init__(self) -> None:
        self.write("old")
        assert fork(self.act) == 0
        shutil.copytree("dist", "old")
        self.old = self.state()
        self.write("new")
        self.reset()
        assert fork(self.act) == 0
        self.new = self.state()

    def write(self, content: str) -> None:
        Path("rootfs/etc/hostname").write_text(f"{content}\n", encoding="utf-8")
        Path("rootfs/usr/share/large").write_bytes(random.Random(content).randbytes(300_000))

    def reset(self) -> None:
        for folder in ("dist", "build"):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree("old", "dist")


class WarmBuild(ColdBuild):
    """A build after a change, with everything that the previous build left."""

    def __init__(self) -> None:
        super().__init__()
        self.content = "new"

    def reset(self) -> None:
        """The new output becomes the old one; the cache is sometimes emptied, so that contents are stored again."""
        if not hasattr(self, "content"):
            return super().reset()
        self.content = {"old": "new", "new": "old"}[self.content]
        self.write(self.content)
        shutil.rmtree("build/.otabuild/cache", ignore_errors=True)
        self.old, self.new = self.new, self.old
        return None


class Deploy(World):
    """A deployment to a directory that does not exist."""

    outputs = (Path("target/root"),)
    run = staticmethod(deploy)

    def __init__(self) -> None:
        assert fork(lambda: api.build(RECIPE)) == 0
        self.reset()
        self.old = self.state()
        assert fork(self.act) == 0
        self.new = self.state()

    def reset(self) -> None:
        shutil.rmtree("target", ignore_errors=True)
        os.mkdir("target")

    def act(self) -> None:
        if self.run is deploy and self.outputs[0].exists():
            return
        with open_image("dist/vehicle.zip") as image:
            payload = image.payload("main")
            self.run(payload, self.outputs[0], None, int(time.time()), insecure_no_verify=True, no_owner=True)


class DeployTar(Deploy):
    """A deployment as a tar file that replaces an existing one."""

    outputs = (Path("target/root.tar"),)
    run = staticmethod(deploy_tar)

    def reset(self) -> None:
        super().reset()
        self.outputs[0].write_bytes(b"old")


WORLDS = {"cold": ColdBuild, "warm": WarmBuild, "deploy": Deploy, "tar": DeployTar}


def count(world: World) -> int:
    """Return the number of changes; each is seen before and after."""
    world.reset()
    with open("changes", "wb", buffering=0) as file:
        assert fork(world.act, lambda _number: file.write(b".")) == 0
    return os.path.getsize("changes")


def try_point(world: World, point: int, number: int) -> str | None:
    """Stop it once; return what went wrong, if anything."""
    world.reset()
    code = fork(world.act, lambda seen: os.kill(os.getpid(), number) if seen == point else None)
    if code not in ({0, -number} if number == signal.SIGKILL else {128 + number}):
        return f"ended with {code}"
    for path, found, old, new in zip(world.outputs, world.state(), world.old, world.new, strict=True):
        if found not in {old, new}:
            return f"{path} is neither the old nor the new one"
    if number != signal.SIGKILL and world.leftovers():
        return f"interrupted and left {world.leftovers()}"
    if code := fork(world.act):
        return f"the next run ended with {code}"
    if world.state() != world.new:
        return "the next run gave something else"
    return f"the next run left {world.leftovers()}" if world.leftovers() else None


def main() -> None:
    """See the module."""
    name, number, *points = sys.argv[1:]
    world = WORLDS[name]()
    total = count(world)
    chosen = [round(float(point) * total) or 1 for point in points] or list(range(1, total + 1))
    wrong = {point: problem for point in chosen if (problem := try_point(world, point, int(number)))}
    sys.stdout.write(json.dumps({"changes": total, "tried": len(chosen), "wrong": wrong}))


if __name__ == "__main__":
    main()
