"""The steps after the artifact: verify it, deploy it, and check the deployed tree against the scanned one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING

from otabuild.assembly.tree import TreeRow, read_tree
from otabuild.errors import InputError, IntegrityError, NotVerifiedError
from otabuild.format.file_table import pack_xattrs
from otabuild.format.times import DAY
from otabuild.pipeline.job import Job
from otabuild.pipeline.retry import mended
from otabuild.pipeline.step import Key, Outcome, Step
from otabuild.pipeline.trust_settings import next_date, trust_key, trust_policy
from otabuild.rootfs.entry import Entry
from otabuild.rootfs.scan import Input, RootfsOptions, scan
from otabuild.storage import files

if TYPE_CHECKING:
    from otabuild.signing.trust import TrustPolicy


def verify_step(job: Job) -> Step:
    """Verify the artifact completely."""
    recipe = job.recipe

    def run() -> Outcome:
        from otabuild.image.image import open_image
        from otabuild.verification.verify import verify

        if recipe.sign and recipe.verify is None:
            raise InputError(
                "the recipe does not say whom to trust", where=recipe.file, hint="add `verify: {trust: [root.pem]}`"
            )
        policy = _policy(job)
        with open_image(recipe.output) as image:
            report = verify(
                image,
                policy,
                job.workspace.now,
                without_signature=recipe.sign is None,
                progress=partial(job.workspace.progress, f"verify {recipe.name}"),
            )
        if not report.ok:
            raise NotVerifiedError(recipe.output, report.findings)
        notes = [str(finding) for finding in report.findings]
        if recipe.sign is None:
            notes.append("the image is not signed: everything but its authenticity was verified")
        until = next_date(recipe, job.workspace.now)
        return Outcome({"counts": dict(report.counts)}, {"notes": notes}, until=until)

    def key() -> Key:
        return {
            "artifact": job.results("build"),
            "whom to trust": recipe.verify and trust_key(recipe.verify),
            "today's date": job.workspace.now // DAY,
        }

    return job.step("verify", doc=f"verify {recipe.output}", after=(job.name("build"),), key=key, run=run)


def _policy(job: Job) -> TrustPolicy | None:
    return trust_policy(job.recipe.verify) if job.recipe.verify and job.recipe.sign else None


def deployed_tar(job: Job, rootfs: str) -> str:
    """Return where `deploy` writes the tar of a rootfs."""
    return os.path.join(os.path.dirname(job.workspace.work), "deploy", job.recipe.name, f"{rootfs}.tar")


def deploy_step(job: Job) -> Step:
    """Deploy one payload of each rootfs as a tar file, which does not require root."""
    recipe = job.recipe
    tars = {payload.rootfs: deployed_tar(job, payload.rootfs) for payload in recipe.payloads}

    def run() -> Outcome:
        from otabuild.deployment.deploy_tar import deploy_tar
        from otabuild.image.image import open_image

        policy = _policy(job)
        with open_image(recipe.output) as image:
            for rootfs, tar in tars.items():
                payload = next(payload for payload in recipe.payloads if payload.rootfs == rootfs)
                deploy_tar(
                    image.payload(payload.ecu, payload.release_keys[0]),
                    tar,
                    policy,
                    job.workspace.now,
                    insecure_no_verify=policy is None,
                    progress=partial(job.workspace.progress, f"deploy {rootfs}"),
                )
        return Outcome({rootfs: files.hash_file(tar) for rootfs, tar in tars.items()}, {})

    return job.step(
        "deploy",
        doc="deploy each rootfs as a tar file",
        after=(job.name("verify"),),
        key=lambda: {"artifact": job.results("build")},
        outputs=tuple(tars.values()),
        targets=tuple(tars.values()),
        run=run,
    )


def roundtrip_step(job: Job) -> Step:
    """Read the deployed tar as a new rootfs, and check it against the tree that was built."""
    names = sorted({payload.rootfs for payload in job.recipe.payloads})

    def run() -> Outcome:
        for name in names:
            options = RootfsOptions(
                (Input("tar", deployed_tar(job, name)),), clean=False, stub_resolv_conf=False, drop_xattrs=()
            )
            _compare(
                name,
                scan(options, euid=os.geteuid(), work=job.workspace.archives).entries,
                read_tree(job.rootfs_path(name, "tree")),
            )
        return Outcome({}, {"rootfs-compared": len(names)})

    return job.step(
        "roundtrip",
        doc="compare what was deployed with what was built",
        after=(job.name("deploy"),),
        key=lambda: {"deployed": job.results("deploy"), "built": job.results("store")},
        run=lambda: mended(job.workspace, run),
    )


def _compare(rootfs: str, deployed: Iterator[Entry], built: Iterator[TreeRow]) -> None:
    """Compare two trees entry by entry; hard-link groups are compared by their first paths.

    Raises:
        IntegrityError: the trees differ; the message names the first different path.
    """
    first: tuple[dict[object, str], dict[object, str]] = {}, {}
    for entry, row in zip_longest(deployed, built):
        ours = None if entry is None else _facts(_row(entry), entry.link, first[0])
        theirs = None if row is None else _facts(row, row.link, first[1])
        if ours != theirs:
            path = (row or entry).path
            raise IntegrityError(
                "what was deployed is not what was built", where=f"{rootfs}: {path}", observed=ours, expected=theirs
            )


def _row(entry: Entry) -> TreeRow:
    digest = entry.content.digest if entry.content else None
    size = entry.content.size if entry.content else 0
    xattrs = pack_xattrs(entry.xattrs, entry.path)
    return TreeRow(entry.path, entry.mode, entry.uid, entry.gid, xattrs, entry.target, None, digest, size, None)


def _facts(row: TreeRow, link: object, first: dict[object, str]) -> tuple[object, ...]:
    group = row.path if link is None else first.setdefault(link, row.path)
    return (*row._replace(link=None, inline=None), group)
