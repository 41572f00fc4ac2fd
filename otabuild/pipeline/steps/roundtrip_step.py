"""Roundtrip: reads what was deployed as a new rootfs, and compares it with what was built."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Annotated

from otabuild.assembly.tree import TreeRow, read_tree
from otabuild.errors import IntegrityError
from otabuild.format.file_table import pack_xattrs
from otabuild.pipeline.sealed_archives import sealed_archives
from otabuild.pipeline.step import KeyPart, Nothing, Outcome, Step
from otabuild.pipeline.steps.deploy_step import DeployedTars, DeployStep
from otabuild.pipeline.steps.store_step import Stored, StoreStep
from otabuild.rootfs.entry import Entry
from otabuild.rootfs.inputs import TarInput
from otabuild.rootfs.scan import RootfsOptions, scan


@dataclass(frozen=True)
class RoundtripInputs:
    """What is compared, and the tar file of each rootfs."""

    deployed: Annotated[DeployedTars, KeyPart("deployed")]
    built: Annotated[Stored, KeyPart("built")]
    tars: Mapping[str, str]


@dataclass(frozen=True)
class RoundtripStep(Step[RoundtripInputs, Nothing]):
    """Read the deployed tar as a new rootfs, and check it against the tree that was built."""

    kind = "roundtrip"
    doc = "compare what was deployed with what was built"
    follows = "deploy"

    def inputs(self) -> RoundtripInputs:
        """See `Step.inputs`."""
        deploy = DeployStep(self.recipe, self.workspace)
        deployed = deploy.results()
        tars = {name: deploy.tar(name) for name in sorted(deployed.tars)}
        return RoundtripInputs(deployed, StoreStep(self.recipe, self.workspace).results(), tars)

    def run(self, inputs: RoundtripInputs) -> Outcome[Nothing]:
        """See `Step.run`."""
        for name, tar in inputs.tars.items():
            options = RootfsOptions(
                (TarInput(tar),), clean=False, stub_resolv_conf=False, drop_xattrs=()
            )
            with sealed_archives(self.workspace) as archives:
                deployed = scan(options, euid=os.geteuid(), work=archives).entries
                _compare(name, deployed, read_tree(self.rootfs_path(name, "tree")))
        return Outcome(Nothing(), {"rootfs-compared": len(inputs.tars)})


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
                "what was deployed is not what was built",
                where=f"{rootfs}: {path}",
                observed=ours,
                expected=theirs,
            )


def _row(entry: Entry) -> TreeRow:
    digest = entry.content.digest if entry.content else None
    size = entry.content.size if entry.content else 0
    xattrs = pack_xattrs(entry.xattrs, entry.path)
    return TreeRow(
        entry.path, entry.mode, entry.uid, entry.gid, xattrs, entry.target, None, digest, size, None
    )


def _facts(row: TreeRow, link: object, first: dict[object, str]) -> tuple[object, ...]:
    group = row.path if link is None else first.setdefault(link, row.path)
    return (*row._replace(link=None, inline=None), group)
