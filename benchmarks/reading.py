"""Benchmarks of reading images: deploy, verify, diff, and the cost of an update."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.figures import MB, Figure, peak, ratio
from benchmarks.measure import Side
from benchmarks.project import Project, answer


def deploy(bench: Bench) -> Iterator[Figure]:
    """Deployment, including verification, compared with zstd -dc | tar -x."""
    target, unpacked = bench.work / "deployed", bench.work / "unpacked"
    ours, tar = bench.meter.compare(
        deploying(bench, bench.built), bench.untar(bench.tarball, unpacked)
    )
    yield ratio("deploy / zstd -dc | tar -x: wall", ours.wall, tar.wall, 2)
    yield ratio("deploy / zstd -dc | tar -x: CPU", ours.cpu, tar.cpu)
    yield peak("deploy: peak memory", ours, 250)
    shutil.rmtree(target)
    shutil.rmtree(unpacked)


def deploying(bench: Bench, project: Project) -> Side:
    """Deployment of a project's artifact to `deployed`, which is removed before each run."""
    target = bench.work / "deployed"
    trust = ("--ca", project.ca, "--image", project.artifact)
    side = project.command(
        "deploy-image", "deploy-image", *trust, "--ecu-id", "main", "--rootfs-dir", target
    )
    return side.but(prepare=lambda: shutil.rmtree(target, ignore_errors=True))


def verify(bench: Bench) -> Iterator[Figure]:
    """Shallow verification compared with sha256sum, and full verification compared with zstd -t."""
    project = bench.built
    shallow, sha256sum, whole, test = bench.meter.compare(
        verifying(project, "--shallow"),
        Side("sha256sum", ["sha256sum", project.artifact], bench.work),
        verifying(project),
        Side("zstd -t", ["zstd", "-q", "-t", bench.tarball], bench.work),
    )
    yield ratio(
        "verify --shallow / sha256sum of the artifact: wall", shallow.wall, sha256sum.wall, 2
    )
    yield peak("verify --shallow: peak memory", shallow, 250)
    yield ratio("verify / zstd -t of the tar: wall", whole.wall, test.wall, 3)
    yield ratio("verify / zstd -t of the tar: CPU", whole.cpu, test.cpu)
    yield peak("verify: peak memory", whole, 250)


def verifying(project: Project, *options: str) -> Side:
    """Verification of a project's artifact."""
    return project.command(
        " ".join(("verify", *options)), "verify", project.artifact, "--ca", project.ca, *options
    )


def update(bench: Bench) -> Iterator[Figure]:
    """What a device with the rootfs downloads to update to the second one."""
    images = bench.built.artifact, bench.built_second.artifact
    found = answer(bench.built.command("cost", "cost", *images, "--ecu-id", "main", "--json"))
    changed, download = found["changed-bytes"] / MB, found["download"] / MB
    yield ratio("update: download / changed bytes", download, changed, 0.75, unit="MB")
    yield Figure("update: metadata (both tables)", found["metadata"] / MB, "MB", 3.3)
    yield Figure("update: requests for contents", found["requests"])
    yield Figure("update: all bytes fetched", found["total"] / MB, "MB")
    yield ratio(
        "first install: requests / contents",
        bench.built_second.blobs(),
        found["resources"],
        unit="",
    )


def diff(bench: Bench) -> Iterator[Figure]:
    """The differences between the two."""
    side = bench.built.command(
        "diff", "diff", bench.built.artifact, bench.built_second.artifact, "--ecu-id", "main"
    )
    (ours,) = bench.meter.compare(side, times=3)
    yield Figure("diff: wall", ours.wall, "s", 1.5, source=f"CPU {ours.cpu:.2f} s")
    yield peak("diff: peak memory", ours)
