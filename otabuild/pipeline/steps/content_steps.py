"""The steps from the inputs of a recipe to stored contents and tables."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import Any

import msgpack

from otabuild.assembly.file_table import link_counts, write_file_table
from otabuild.assembly.resource_table import Resources, write_resource_table
from otabuild.assembly.store import store_contents
from otabuild.assembly.stored import Storage
from otabuild.assembly.tree import read_tree, write_tree
from otabuild.errors import printable
from otabuild.format.digest import Blob
from otabuild.format.image_config import jetson_bsp_version
from otabuild.format.sizes import counted
from otabuild.pipeline.base_release import open_base
from otabuild.pipeline.job import Job
from otabuild.pipeline.retry import mended
from otabuild.pipeline.settings import rootfs_options, storage_plan
from otabuild.pipeline.step import Key, Outcome, Results, Step
from otabuild.recipe.named_files import naming_key, problem_at
from otabuild.rootfs.entry import RACY_NS, Entry
from otabuild.rootfs.scan import ReleaseFiles, ScanNotes, fingerprint, newest_archive, release_files, scan
from otabuild.rootfs.stream import read_entries, write_entries
from otabuild.storage import files, publishing
from otabuild.storage.cache import Cache
from otabuild.storage.compress import compress_table, library_version
from otabuild.version import __version__

_RACY = "a file was changed within two seconds of the last scan, so times may hide a later change"


def scan_step(job: Job, rootfs: str) -> Step:
    """Walk the inputs of a rootfs and write its prepared entries to a file."""
    options = rootfs_options(job.recipe.rootfs[rootfs])
    entries = job.rootfs_path(rootfs, "entries")
    archives = job.workspace.archives
    named = naming_key(job.recipe, "rootfs", rootfs)

    def key() -> Key:
        return {
            "how the rootfs is prepared": repr(options),
            "what the inputs hold": fingerprint(options, work=archives),
        }

    def scanned() -> Outcome:
        newest = _Newest(newest_archive(options))
        result = scan(options, euid=os.geteuid(), work=archives)
        with publishing.replacing_stream(entries) as file:
            counts = write_entries(file, newest.watch(result.entries))
        with open(entries, "rb") as file:
            release = release_files(read_entries(file))
        notes = result.notes
        _warn(job, rootfs, notes, tell_left_out=options.unsupported == "warn")
        report = {
            "entries": counts.regular + counts.directories + counts.others,
            "left out": notes.left_out,
            "dropped xattrs": dict(notes.dropped_xattrs + notes.foreign_xattrs),
            "patterns without a match": notes.unmatched_patterns,
        }
        racy = newest.time_ns >= job.workspace.now_ns - RACY_NS
        results = {
            "entries": files.hash_file(entries),
            "size": counts.size,
            "system": _system(release),
            "racy at": job.workspace.now_ns if racy else None,
        }
        return Outcome(results, report, _RACY if racy else "")

    return job.step(
        "scan",
        rootfs,
        doc=f"walk the inputs of rootfs {rootfs}",
        after=(f"input*:{job.recipe.name}/{rootfs}", job.name("preflight")),
        key=named(key),
        outputs=(entries,),
        run=named(partial(mended, job.workspace, scanned)),
    )


def _warn(job: Job, rootfs: str, notes: ScanNotes, *, tell_left_out: bool) -> None:
    for pattern in notes.unmatched_patterns:
        number = job.recipe.rootfs[rootfs].prepare.exclude.index(pattern)
        keys = ("rootfs", rootfs, "prepare", "exclude", number)
        job.workspace.warn(problem_at(job.recipe, keys, "the pattern matches nothing", pattern).message)
    for name, count in sorted(notes.foreign_xattrs.items()):
        job.workspace.warn(
            f"rootfs {rootfs}: left out the attribute {printable(name)} of {counted(count, 'entry', 'entries')}: no Linux target can set "
            f'it; `xattrs: {{drop: ["{printable(name)}"]}}` says that you know'
        )
    for path in notes.left_out if tell_left_out else ():
        job.workspace.warn(f"rootfs {rootfs}: left out, because the format cannot store it: {printable(path)}")


class _Newest:
    """Passes entries on, and records the newest time of any file, starting at `time_ns`."""

    def __init__(self, time_ns: int) -> None:
        self.time_ns = time_ns

    def watch(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        for entry in entries:
            if entry.content is not None and (key := entry.content.stat_key) is not None:
                self.time_ns = max(self.time_ns, key.mtime_ns, key.ctime_ns)
            yield entry


def _system(release: ReleaseFiles) -> Results:
    """Return the names and versions that a rootfs states for its system, and for the Jetson BSP."""
    named: dict[str, str] = {}
    for line in (release.os_release or b"").decode("utf-8", "replace").splitlines():
        name, equals, value = line.partition("=")
        if equals:
            named[name.strip()] = _unquoted(value.strip())
    bsp = None if release.nv_tegra_release is None else jetson_bsp_version(release.nv_tegra_release)
    return {"os": named.get("NAME") or None, "os-version": named.get("VERSION_ID") or None, "bsp-version": bsp}


def _unquoted(value: str) -> str:
    """Read a value of os-release like a shell; a value that a shell would refuse is not changed."""
    try:
        read = " ".join(shlex.split(value))
    except ValueError:
        return value
    return re.sub(r"\\([$`])", r"\1", read)  # shlex does not unescape these two within quotes


def store_step(job: Job) -> Step:
    """Read and store every content of every rootfs that is not stored yet."""
    names = list(job.recipe.rootfs)
    plan = storage_plan(job.recipe.storage)
    trees = {name: job.rootfs_path(name, "tree") for name in names}
    storage_file, base = job.path("storage"), job.recipe.storage.base

    def entries(name: str) -> Iterator[Entry]:
        with open(job.rootfs_path(name, "entries"), "rb") as file:
            yield from read_entries(file)

    def key() -> Key:
        scans = {name: job.results("scan", name) for name in names}
        listed = {f"entries of rootfs {name}": found["entries"] for name, found in scans.items()}
        racy = [found["racy at"] for found in scans.values()]  # a file read at that time may have changed since
        earlier = base and [base, *_base_state(base)]
        return {
            **listed,
            "files that changed just before the scan": racy,
            "storage plan": plan.key(),
            "libzstd": library_version(),
            "base": earlier,
        }

    def stored() -> Outcome:
        total = sum(job.results("scan", name)["size"] for name in names)
        with job.workspace.open_cache() as cache, open_base(job.recipe, base) if base else nullcontext() as earlier:
            environment = job.workspace.environment(cache, f"store {job.recipe.name}", total)
            sources = [partial(entries, name) for name in names]
            storage, rows, counts = store_contents(sources, plan, environment, earlier)
            for name, tree in zip(names, rows, strict=True):
                with publishing.replacing_stream(trees[name]) as file:
                    write_tree(file, tree)
        with publishing.replacing_stream(storage_file) as file:
            storage.write(file)
        results = {f"tree {name}": files.hash_file(path) for name, path in trees.items()}
        return Outcome({**results, "storage": files.hash_file(storage_file)}, counts.to_value())

    def scan_again() -> None:
        for name in names:
            scan_step(job, name).execute()

    return job.step(
        "store",
        doc="hash and compress what is new",
        after=tuple(job.name("scan", name) for name in names),
        key=key,
        outputs=(*trees.values(), storage_file),
        run=lambda: mended(job.workspace, stored, scan_again=scan_again),
    )


def _base_state(base: str) -> list[int]:
    """Return what shows that an earlier release is unchanged; for an image directory, the state of its index."""
    document = os.path.join(base, "index.json")
    return files.file_state(os.path.realpath(document if os.path.exists(document) else base))


def tables_step(job: Job) -> Step:
    """Write the file table of each rootfs and the resource table of the image as blobs in the cache."""
    names = list(job.recipe.rootfs)
    leaves_file, database = job.path("leaves"), job.path("resource_table.sqlite3")

    def run() -> Outcome:
        with job.workspace.open_cache() as cache, ThreadPoolExecutor(job.workspace.workers) as pool:
            tables = {name: _file_table(job, name, cache, pool) for name in names}
            _write_resources(job, database, leaves_file)
            resource_table = pool.submit(_add_table, cache, database)
            results: dict[str, Any] = {f"file table {name}": finish() for name, finish in tables.items()}
            results["resource table"] = _blob_value(resource_table.result())
        results["leaves"] = files.hash_file(leaves_file)
        return Outcome(results, {})

    return job.step(
        "tables",
        doc="write file tables and the resource table",
        after=(job.name("store"),),
        key=lambda: {"contents": job.results("store"), "libzstd": library_version()},
        outputs=(leaves_file,),
        run=run,
        clean=(database, *(job.rootfs_path(name, "sqlite3") for name in names)),
    )


def _write_resources(job: Job, database: str, leaves_file: str) -> None:
    """Write the resource table and the list of leaves. The rows take much memory, which is freed on return."""
    with open(job.path("storage"), "rb") as file:
        resources = Resources(Storage.read(file))
    write_resource_table(database, resources.rows())
    files.write_file(leaves_file, bytes(msgpack.packb(list(resources.leaves()))))


def _file_table(job: Job, name: str, cache: Cache, pool: ThreadPoolExecutor) -> Callable[[], Results]:
    """Start the file table of a tree; a table made from the same tree is taken from the cache."""
    tree = job.rootfs_path(name, "tree")
    key = f"file table {__version__} {job.results('store')[f'tree {name}']} {library_version()}".encode()
    known = cache.recall(key)
    if known is not None and cache.has(Blob(known[0], known[1])):
        digest, size, labels = known
        return lambda: {**_blob_value(Blob(digest, size)), "labels": labels}
    database = job.rootfs_path(name, "sqlite3")
    labels = write_file_table(database, read_tree(tree), link_counts(read_tree(tree))).labels()
    compressed = pool.submit(_add_table, cache, database)

    def finish() -> Results:
        blob = compressed.result()
        cache.remember(key, [*blob, labels])
        return {**_blob_value(blob), "labels": labels}

    return finish


def _add_table(cache: Cache, database: str) -> Blob:
    return cache.add(compress_table(database))


def _blob_value(blob: Blob) -> Results:
    return {"digest": blob.digest.hex(), "size": blob.size}


def read_leaves(job: Job) -> list[Blob]:
    """Return the blobs of contents that the image must contain."""
    return [Blob(*leaf) for leaf in msgpack.unpackb(files.read_file(job.path("leaves")))]
