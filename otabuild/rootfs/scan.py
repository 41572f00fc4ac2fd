"""The scan: prepares a rootfs's inputs as the recipe says, and yields checked entries."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from otabuild.errors import MisplacedEntryError
from otabuild.rootfs import transforms
from otabuild.rootfs.content import load_content, with_digest
from otabuild.rootfs.entry import Content, Entry
from otabuild.rootfs.gate import Unsupported, as_tree, supported
from otabuild.rootfs.inputs import Input, Opening
from otabuild.rootfs.merge import apart, merge, settled
from otabuild.rootfs.mounts import hides_changes
from otabuild.rootfs.patterns import Patterns
from otabuild.rootfs.set_rules import SetRule, apply_rules


@dataclass(frozen=True)
class RootfsOptions:
    """The settings of a recipe for one rootfs.

    `sources` are merged, the last one on top, and prepared (`clean`, `exclude`,
    `stub_resolv_conf`). `overlays` are merged over the result unchanged. Attribute names and
    `rules` apply to everything. `whole` refuses a source that is empty, and a rootfs that is no
    whole system.
    """

    sources: tuple[Input, ...]
    overlays: tuple[Input, ...] = ()
    clean: bool = True
    exclude: tuple[str, ...] = ()
    stub_resolv_conf: bool = True
    drop_xattrs: tuple[str, ...] = ("security.selinux", "user.containers.*")
    unsupported: Unsupported = "error"
    one_file_system: bool = True
    rules: tuple[SetRule, ...] = ()
    whole: bool = False


@dataclass
class ScanNotes:
    """What a scan reports; complete after the last entry."""

    left_out: list[str] = field(default_factory=list)
    dropped_xattrs: Counter[str] = field(default_factory=Counter)
    foreign_xattrs: Counter[str] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)
    unmatched_patterns: list[str] = field(default_factory=list)


class ScanResult(NamedTuple):
    """The entries of a rootfs in path order, read lazily, and notes that fill meanwhile."""

    entries: Iterator[Entry]
    notes: ScanNotes


class ReleaseFiles(NamedTuple):
    """Contents of the files that identify the system in a rootfs; None if a file does not exist."""

    os_release: bytes | None
    nv_tegra_release: bytes | None


def fingerprint(options: RootfsOptions, *, work: str) -> str:
    """Return a text that changes if entries of a scan may. Contents of files are not read.

    `work` is the folder with the indexes of archives.

    Raises:
        InputError: an input that cannot be read.
    """
    dropped = Patterns(options.exclude), _cleaned(options)
    parts = [repr(options), os.path.abspath(work)]
    denied: set[tuple[str, str]] = set()  # the scan reports these
    parts += [
        found.opened(_opening(options, work, denied, dropped)).fingerprint()
        for found in options.sources
    ]
    parts += [
        found.opened(_opening(options, work, denied)).fingerprint() for found in options.overlays
    ]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()


def must_run_again(options: RootfsOptions, *, work: str) -> bool:
    """Whether a scan may change without changing its fingerprint, because of where inputs are."""
    return bool(_hiding(options, work))


def newest_archive(options: RootfsOptions) -> int:
    """Return when an input archive last changed, in Unix nanoseconds; 0 if there is none."""
    return max((found.changed_at() for found in (*options.sources, *options.overlays)), default=0)


def scan(options: RootfsOptions, *, euid: int, work: str) -> ScanResult:
    """Return the entries of a rootfs, prepared and checked as a tree.

    Args:
        options: the settings of the recipe.
        euid: the effective user id of the build.
        work: a folder for the indexes of archives; contents refer to files in it.

    Raises:
        InputError: an input cannot be used or read, or changes meanwhile. Raised here or while
            iterating over the entries.
    """
    notes = ScanNotes()
    return ScanResult(_entries(options, notes, euid, work), notes)


def _entries(options: RootfsOptions, notes: ScanNotes, euid: int, work: str) -> Iterator[Entry]:
    try:
        yield from _prepared(options, notes, euid, work)
    except MisplacedEntryError as error:
        # Looked up for the message alone, so only now.
        path, opening = error.where, _opening(options, work, set())
        inputs = (*options.sources, *options.overlays)
        holders = [name for found in inputs for name in found.opened(opening).holders(path)]
        raise error.at(", ".join(holders)) from None


def _prepared(options: RootfsOptions, notes: ScanNotes, euid: int, work: str) -> Iterator[Entry]:
    wanted, cleaned = Patterns(options.exclude), _cleaned(options)
    denied: set[tuple[str, str]] | None = set() if euid else None
    opening = _opening(options, work, denied, (wanted, cleaned))
    entries = settled(
        _merged([_entries_of(found, opening, euid, options) for found in options.sources])
    )
    entries = transforms.exclude(transforms.exclude(entries, wanted), cleaned)
    if options.whole:
        entries = transforms.whole_system(entries, notes.missing)
    makers: dict[str, transforms.Maker] = transforms.emptied_folders() if options.clean else {}
    if options.stub_resolv_conf:
        makers |= transforms.stub_resolv_conf()
    # Overlays come after it, so that nothing of them is cleaned, excluded or replaced.
    entries = transforms.place(entries, makers)
    opening = _opening(options, work, denied)
    overlays = [_entries_of(found, opening, euid, options) for found in options.overlays]
    entries = settled(_merged([entries, *overlays]))
    if denied is not None:
        entries = transforms.check_readable(entries, denied, euid=euid)
    entries = transforms.drop_xattrs(
        entries, options.drop_xattrs, notes.dropped_xattrs, notes.foreign_xattrs
    )
    entries = supported(entries, options.unsupported, notes.left_out)
    yield from _hashed_anew(as_tree(apply_rules(entries, options.rules)), _hiding(options, work))
    notes.unmatched_patterns = wanted.unmatched


def _hiding(options: RootfsOptions, work: str) -> list[str]:
    """Return the inputs whose times may hide a change."""
    inputs = (*options.sources, *options.overlays)
    return [found.location for found in inputs if hides_changes(found.location, work=work)]


def _hashed_anew(entries: Iterator[Entry], hiding: Sequence[str]) -> Iterator[Entry]:
    """Give digests to contents of some inputs: no record of an earlier one can be trusted."""
    folders = tuple(os.path.join(os.path.abspath(location), "") for location in hiding)
    links: dict[str, Content] = {}
    for entry in entries:
        content = entry.content
        if content is None or content.stat_key is None or not content.host_path.startswith(folders):
            yield entry
            continue
        hashed = links.get(entry.link or "") or with_digest(content)
        if entry.link is not None:
            links[entry.link] = hashed
        yield entry._replace(content=hashed)


def _cleaned(options: RootfsOptions) -> Patterns:
    return Patterns(transforms.CLEANED if options.clean else ())


def _merged(sources: Sequence[Iterator[Entry]]) -> Iterator[Entry]:
    if len(sources) == 1:
        return sources[0]
    return merge(
        [apart(entries, number) for number, entries in enumerate(sources)], keep_links=True
    )


def _opening(
    options: RootfsOptions,
    work: str,
    denied: set[tuple[str, str]] | None,
    dropped: Sequence[Patterns] = (),
) -> Opening:
    return Opening(
        work,
        options.one_file_system,
        prune=lambda path: any(patterns.match_below(path) for patterns in dropped),
        drop=lambda path: any(patterns.match(path) for patterns in dropped),
        denied=denied,
    )


def _entries_of(
    found: Input, opening: Opening, euid: int, options: RootfsOptions
) -> Iterator[Entry]:
    entries = transforms.own(found.checked(found.opened(opening).entries(), euid), found.owner)
    return transforms.not_empty(entries, where=found.location) if options.whole else entries


RELEASE_FILES = frozenset({"/etc/os-release", "/usr/lib/os-release", "/etc/nv_tegra_release"})
"""The entries that `release_files` looks at."""


def release_files(entries: Iterable[Entry]) -> ReleaseFiles:
    """Find `/etc/os-release` (through its link) and `/etc/nv_tegra_release` in entries."""
    found = {entry.path: entry for entry in entries if entry.path in RELEASE_FILES}

    def content(path: str) -> bytes | None:
        entry = found.get(path)
        if entry is not None and entry.target is not None:
            entry = found.get(posixpath.normpath(posixpath.join("/etc", entry.target)))
        return None if entry is None or entry.content is None else load_content(entry.content)

    return ReleaseFiles(content("/etc/os-release"), content("/etc/nv_tegra_release"))
