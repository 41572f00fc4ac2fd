"""Tables: writes each rootfs's file table and the image's resource table as blobs."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated

from otabuild.assembly.file_table import link_counts, write_file_table
from otabuild.assembly.resource_table import Resources, write_resource_table
from otabuild.assembly.stored import Storage
from otabuild.assembly.tree import read_tree
from otabuild.format.digest import Blob
from otabuild.pipeline.blob_list import write_blobs
from otabuild.pipeline.step import KeyPart, Outcome, Step
from otabuild.pipeline.steps.store_step import Stored, StoreStep
from otabuild.storage import files
from otabuild.storage.cache import Cache
from otabuild.storage.compress import compress_table, library_version
from otabuild.version import __version__


@dataclass(frozen=True)
class TablesInputs:
    """What the tables depend on."""

    contents: Annotated[Stored, KeyPart("contents")]
    libzstd: Annotated[str, KeyPart("libzstd")]


@dataclass(frozen=True)
class StoredTable:
    """A compressed table in the cache: its digest as hex, its size in bytes, labels with counts."""

    digest: str
    size: int
    labels: Mapping[str, int]

    @property
    def blob(self) -> Blob:
        """The table as a blob of the cache."""
        return Blob(bytes.fromhex(self.digest), self.size)


@dataclass(frozen=True)
class Tables:
    """The file table of each rootfs, the resource table, and the digest of the list of leaves."""

    file_tables: Mapping[str, StoredTable]
    resource_table: StoredTable
    leaves: str


@dataclass(frozen=True)
class TablesStep(Step[TablesInputs, Tables]):
    """Write the file table of each rootfs and the resource table as blobs of the cache."""

    kind = "tables"
    doc = "write file tables and the resource table"
    follows = "store"
    results_type = Tables

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Step.outputs`."""
        return (self.path("leaves"),)

    @property
    def clean(self) -> tuple[str, ...]:
        """See `Step.clean`."""
        return (self._database, *(self.rootfs_path(name, "sqlite3") for name in self.recipe.rootfs))

    @property
    def _database(self) -> str:
        return self.path("resource_table.sqlite3")

    def inputs(self) -> TablesInputs:
        """See `Step.inputs`."""
        return TablesInputs(StoreStep(self.recipe, self.workspace).results(), library_version())

    def run(self, inputs: TablesInputs) -> Outcome[Tables]:
        """See `Step.run`."""
        (leaves,) = self.outputs
        with (
            self.workspace.open_cache() as cache,
            ThreadPoolExecutor(self.workspace.workers) as pool,
        ):
            trees = inputs.contents.trees
            started = {
                name: self._file_table(name, tree, cache, pool) for name, tree in trees.items()
            }
            self._write_resources(leaves)
            resource_table = pool.submit(_add_table, cache, self._database, {})
            file_tables = {name: finish() for name, finish in started.items()}
            return Outcome(Tables(file_tables, resource_table.result(), files.hash_file(leaves)))

    def _write_resources(self, leaves: str) -> None:
        """Write the resource table and the list of leaves.

        The rows take much memory, which is freed on return.
        """
        # A full collection would stop every thread to look at each row, and find nothing to free.
        gc.disable()
        try:
            with open(self.path("storage"), "rb") as file:
                resources = Resources(Storage.read(file))
            write_resource_table(self._database, resources.rows())
            write_blobs(leaves, resources.leaves())
        finally:
            gc.enable()

    def _file_table(
        self, name: str, digest: str, cache: Cache, pool: ThreadPoolExecutor
    ) -> Callable[[], StoredTable]:
        """Start the file table of a tree; that of the same tree is taken from the cache."""
        key = f"file table {__version__} {digest} {library_version()}".encode()
        known = cache.recall(key)
        if known is not None and cache.has((table := StoredTable(*known)).blob):
            return lambda: table
        tree, database = self.rootfs_path(name, "tree"), self.rootfs_path(name, "sqlite3")
        # The tree is read twice, because the first path of a hard link tells how many follow.
        labels = write_file_table(database, read_tree(tree), link_counts(read_tree(tree))).labels()
        compressed = pool.submit(_add_table, cache, database, labels)

        def finish() -> StoredTable:
            made = compressed.result()
            cache.remember(key, [made.digest, made.size, labels])
            return made

        return finish


def _add_table(cache: Cache, database: str, labels: Mapping[str, int]) -> StoredTable:
    # A frame is hardly larger than what is in it.
    writer = cache.new_blob(2 * os.path.getsize(database))
    for part in compress_table(database):
        writer.write(part)
    blob = writer.commit()
    return StoredTable(blob.digest.hex(), blob.size, labels)
