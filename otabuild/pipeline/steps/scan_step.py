"""Scan: walks the inputs of a rootfs and writes its prepared entries to a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated

from otabuild.errors import printable
from otabuild.format.sizes import counted
from otabuild.pipeline.rootfs_system import System, system_of
from otabuild.pipeline.sealed_archives import sealed_archives
from otabuild.pipeline.settings import rootfs_options
from otabuild.pipeline.step import KeyPart, Outcome, Step
from otabuild.recipe.named_files import naming_key, problem_at
from otabuild.rootfs.entry import RACY_NS, Entry
from otabuild.rootfs.scan import (
    RELEASE_FILES,
    RootfsOptions,
    fingerprint,
    must_run_again,
    newest_archive,
    release_files,
    scan,
)
from otabuild.rootfs.stream import write_entries
from otabuild.storage import files, publishing

_RACY = "a file was changed within two seconds of the last scan, so times may hide a later change"
_HIDDEN = (
    "an input is on a file system whose times may hide a change (FUSE, a share, "
    "a mounted image, overlayfs)"
)


@dataclass(frozen=True)
class ScanInputs:
    """What the entries of a rootfs depend on, and warnings for patterns that match nothing."""

    options: Annotated[RootfsOptions, KeyPart("how the rootfs is prepared")]
    fingerprint: Annotated[str, KeyPart("what the inputs hold")]
    unmatched: Mapping[str, str]


@dataclass(frozen=True)
class Scanned:
    """Digest of the list of entries, bytes of contents, and when one may have changed unseen."""

    entries: str
    size: int
    system: System
    racy_at: int | None


@dataclass(frozen=True)
class ScanStep(Step[ScanInputs, Scanned]):
    """Walk the inputs of a rootfs and write its prepared entries to a file."""

    kind = "scan"
    results_type = Scanned

    @property
    def doc(self) -> str:
        """See `Step.doc`."""
        return f"walk the inputs of rootfs {self.part}"

    @property
    def after(self) -> tuple[str, ...]:
        """See `Step.after`."""
        return f"input*:{self.recipe.name}/{self.part}", f"preflight:{self.recipe.name}"

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Step.outputs`."""
        return (self.rootfs_path(self.part, "entries"),)

    def naming(self) -> AbstractContextManager[None]:
        """See `Step.naming`."""
        return naming_key(self.recipe, "rootfs", self.part)

    def inputs(self) -> ScanInputs:
        """See `Step.inputs`."""
        options = rootfs_options(self.recipe.rootfs[self.part])
        found = fingerprint(options, work=self.workspace.archives)
        return ScanInputs(
            options, found, {pattern: self._unmatched(pattern) for pattern in options.exclude}
        )

    def _unmatched(self, pattern: str) -> str:
        number = self.recipe.rootfs[self.part].prepare.exclude.index(pattern)
        keys = ("rootfs", self.part, "prepare", "exclude", number)
        return problem_at(self.recipe, keys, "the pattern matches nothing", pattern).message

    def run(self, inputs: ScanInputs) -> Outcome[Scanned]:
        """See `Step.run`."""
        (entries,) = self.outputs
        options, warn, now_ns = inputs.options, self.workspace.warn, self.workspace.now_ns
        watched = _Watched(newest_archive(options))
        with sealed_archives(self.workspace) as archives:
            # Inputs are read, and what is wrong in them is noted, only as the entries are written.
            result = scan(options, euid=os.geteuid(), work=archives)
            with publishing.replacing_stream(entries) as file:
                counts = write_entries(file, watched.watch(result.entries))
            release = release_files(watched.release)
        notes = result.notes
        for pattern in notes.unmatched_patterns:
            warn(inputs.unmatched[pattern])
        for name, count in sorted(notes.foreign_xattrs.items()):
            shown = printable(name)
            warn(
                f"rootfs {self.part}: left out the attribute {shown} of "
                f"{counted(count, 'entry', 'entries')}: no Linux target can set it; "
                f'`xattrs: {{drop: ["{shown}"]}}` says that you know'
            )
        if notes.missing:
            warn(
                f"rootfs {self.part}: neither {' nor '.join(notes.missing)} is in it: not a whole "
                "system; `partial: true` says that you know"
            )
        for path in notes.left_out if options.unsupported == "warn" else ():
            warn(
                f"rootfs {self.part}: left out, because the format cannot store it: "
                f"{printable(path)}"
            )
        report = {
            "entries": counts.regular + counts.directories + counts.others,
            "left out": notes.left_out,
            "dropped xattrs": dict(notes.dropped_xattrs + notes.foreign_xattrs),
            "patterns without a match": notes.unmatched_patterns,
        }
        racy = watched.time_ns >= now_ns - RACY_NS
        scanned = Scanned(
            files.hash_file(entries), counts.size, system_of(release), now_ns if racy else None
        )
        if must_run_again(options, work=self.workspace.archives):
            return Outcome(scanned, report, _HIDDEN)
        return Outcome(scanned, report, _RACY if racy else "")


class _Watched:
    """Passes entries on; records what names the system, and the newest time from `time_ns` on."""

    def __init__(self, time_ns: int) -> None:
        self.time_ns = time_ns
        self.release: list[Entry] = []

    def watch(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        for entry in entries:
            if entry.content is not None and (key := entry.content.stat_key) is not None:
                self.time_ns = max(self.time_ns, key.mtime_ns, key.ctime_ns)
            if entry.path in RELEASE_FILES:
                self.release.append(entry)
            yield entry
