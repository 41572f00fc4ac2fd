"""Store: reads and stores every content of every rootfs that is not stored yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from otabuild.assembly.plan import StoragePlan
from otabuild.assembly.store import store_contents
from otabuild.assembly.tree import write_tree
from otabuild.pipeline.base_release import BaseState, OpenBase, open_base
from otabuild.pipeline.blob_list import write_blobs
from otabuild.pipeline.settings import storage_plan
from otabuild.pipeline.step import KeyPart, Outcome, Step
from otabuild.pipeline.steps.preflight_step import PreflightStep
from otabuild.pipeline.steps.scan_step import ScanStep
from otabuild.pipeline.trust_settings import trust_key
from otabuild.rootfs.entry import Entry
from otabuild.rootfs.stream import read_entries
from otabuild.storage import files, publishing
from otabuild.storage.compress import library_version

OF_BASE = "of-base"
"""The list of the blobs that were taken over from a trusted base, and not read."""


@dataclass(frozen=True)
class StoreInputs:
    """What the stored form of all contents depends on, and the bytes to read."""

    entries: Annotated[Mapping[str, str], KeyPart("entries of rootfs {}")]
    racy: Annotated[tuple[int | None, ...], KeyPart("files that changed just before the scan")]
    plan: Annotated[StoragePlan, KeyPart("storage plan")]
    libzstd: Annotated[str, KeyPart("libzstd")]
    base: Annotated[tuple[str, BaseState] | None, KeyPart("base")]
    trust: Annotated[list[object] | None, KeyPart("trust in the base")]
    size: int


@dataclass(frozen=True)
class Stored:
    """Digests of the list of each tree, and of how its contents are stored."""

    trees: Mapping[str, str]
    storage: str


@dataclass(frozen=True)
class StoreStep(Step[StoreInputs, Stored]):
    """Read and store every content of every rootfs that is not stored yet."""

    kind = "store"
    doc = "hash and compress what is new"
    results_type = Stored

    @property
    def sources(self) -> tuple[Step[Any, Any], ...]:
        """See `Step.sources`."""
        return tuple(self._scans().values())

    @property
    def after(self) -> tuple[str, ...]:
        """See `Step.after`."""
        return tuple(scan.name for scan in self._scans().values())

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Step.outputs`."""
        trees = (self.rootfs_path(name, "tree") for name in self.recipe.rootfs)
        return (*trees, self.path("storage"), self.path(OF_BASE))

    def _scans(self) -> dict[str, ScanStep]:
        return {name: ScanStep(self.recipe, self.workspace, name) for name in self.recipe.rootfs}

    def inputs(self) -> StoreInputs:
        """See `Step.inputs`."""
        scans = {name: scan.results() for name, scan in self._scans().items()}
        base = self.recipe.storage.base
        return StoreInputs(
            entries={name: scanned.entries for name, scanned in scans.items()},
            # A file read then may have changed since.
            racy=tuple(scanned.racy_at for scanned in scans.values()),
            plan=storage_plan(self.recipe.storage),
            libzstd=library_version(),
            base=(base, PreflightStep(self.recipe, self.workspace).results().base)
            if base
            else None,
            trust=trust_key(self.recipe.verify) if base and self.recipe.verify else None,
            size=sum(scanned.size for scanned in scans.values()),
        )

    # Apart from `run`, which sees the inputs and not the recipe (decision 0013).
    def _open_base(self) -> AbstractContextManager[OpenBase]:
        return open_base(self.recipe, self.workspace.now, self.workspace.warn)

    def run(self, inputs: StoreInputs) -> Outcome[Stored]:
        """See `Step.run`."""
        *trees, storage_file, of_base = self.outputs
        opened = self._open_base() if inputs.base else nullcontext()
        with self.workspace.open_cache() as cache, opened as found:
            earlier = found and found.base
            environment = self.workspace.environment(
                cache, self.name.replace(":", " "), inputs.size
            )
            sources = [partial(self._entries, name) for name in inputs.entries]
            storage, rows, counts = store_contents(sources, inputs.plan, environment, earlier)
            for path, tree in zip(trees, rows, strict=True):
                with publishing.replacing_stream(path) as file:
                    write_tree(file, tree)
        with publishing.replacing_stream(storage_file) as file:
            storage.write(file)
            write_blobs(of_base, sorted(earlier.taken) if earlier else ())
            traffic = found.traffic() if found else {}
        hashes = {
            name: files.hash_file(path) for name, path in zip(inputs.entries, trees, strict=True)
        }
        return Outcome(
            Stored(hashes, files.hash_file(storage_file)), {**counts.to_value(), **traffic}
        )

    def _entries(self, name: str) -> Iterator[Entry]:
        with open(self.rootfs_path(name, "entries"), "rb") as file:
            yield from read_entries(file)
