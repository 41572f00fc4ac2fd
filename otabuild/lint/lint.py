"""Finds what will cause trouble on the device although the image is valid.

Rules work on small rows from any source.

A rule knows neither images nor recipes; `lint_image.py` feeds it from an image,
`pipeline/lint_recipe.py` from a recipe.
"""

from __future__ import annotations

import posixpath
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from otabuild.errors import Finding, InputError
from otabuild.findings import findings_of, rules_of
from otabuild.format.architectures import ELF_MACHINES, architecture_name
from otabuild.format.index import Index, payload_id
from otabuild.format.sys_config import SysConfig
from otabuild.format.times import utc
from otabuild.lint.device_rules import lint_rule
from otabuild.signing.certificates import Certificate
from otabuild.signing.trust import TrustPolicy, path_problem

FILES_REUSED = 8192
DEPTH_REUSED = 35
HEAD = 20
"""Number of bytes that `Row.head` returns: they include the flags of a .pyc file and the machine of
an ELF file."""
PROGRAMS = tuple(
    f"{usr}/{path}"
    for path in (
        "bin/env",
        "bin/sh",
        "bin/bash",
        "bin/dash",
        "bin/busybox",
        "lib64/ld-linux-x86-64.so.2",
        "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        "lib/ld-musl-x86_64.so.1",
        "lib/ld-linux-aarch64.so.1",
        "lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
        "lib/ld-musl-aarch64.so.1",
    )
    for usr in ("/usr", "")
)
"""Paths of programs and dynamic loaders that show the architecture of a rootfs."""
# PEP 552 came with a pre-release of Python 3.7; the numbers of Python 2 are the larger ones.
_MAGIC_WITH_FLAGS = range(3392, 20_000)
_READ_BY_CLIENTS = {"persist_files", "hostname"}


class Row(NamedTuple):
    """A path of a rootfs: its whole st_mode.

    If `has_head` is true, also a function that reads its first 20 bytes.
    """

    path: str
    mode: int
    head: Callable[[], bytes] | None = None


@dataclass(frozen=True, slots=True)
class TreeSubject:
    """A rootfs.

    Attributes:
        name: the payload or rootfs, for messages.
        rows: every path of the rootfs.
        base: st_mode of every path of the image that the device runs now; None skips rules that
            compare with it.
        architecture: the architecture according to the recipe or image.
    """

    name: str
    rows: Mapping[str, Row]
    base: Mapping[str, int] | None
    architecture: str


@dataclass(frozen=True, slots=True)
class LeftOutSubject:
    """What the scan of a rootfs had to leave out, with reasons."""

    name: str
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SysConfigKeysSubject:
    """The sys_config of a payload."""

    name: str
    config: SysConfig


@dataclass(frozen=True, slots=True)
class ReleaseKeysSubject:
    """The release keys of all payloads of an image."""

    name: str
    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class UmaskSubject:
    """The files of a payload that clients make with their umask, and whose mode it would change.

    Each is its path, its st_mode, and the path of the first file of its content if it is a later
    one of it.
    """

    name: str
    files: tuple[tuple[str, int, str | None], ...]


@dataclass(frozen=True, slots=True)
class EntriesSubject:
    """index.json, for the kinds of its entries."""

    name: str
    index: Index


@dataclass(frozen=True, slots=True)
class TimeSubject:
    """The time of the signature, or of the build before signing, and now (Unix seconds)."""

    name: str
    seconds: int | None
    now: int


@dataclass(frozen=True, slots=True)
class CertificatesSubject:
    """The certificates in an image, and now (Unix seconds)."""

    chain: tuple[Certificate, ...]
    now: int


@dataclass(frozen=True, slots=True)
class PathSubject:
    """The certificates that a recipe signs with, whom clients trust if it says so, and now."""

    chain: tuple[Certificate, ...]
    policy: TrustPolicy | None
    now: int


def check_ignored(id_: str) -> None:
    """Check that a rule to silence exists.

    Raises:
        InputError: it does not.
    """
    known = rules_of("lint")
    if id_ not in known:
        raise InputError("no such rule", observed=id_, expected=", ".join(known))


def has_head(path: str) -> bool:
    """Whether a rule checks the first bytes of a file with this path."""
    return path.endswith(".pyc") or path in PROGRAMS


def lint_tree(
    rows: Iterable[Row], name: str, base: Mapping[str, int] | None = None, architecture: str = ""
) -> Iterator[Finding]:
    """Check a rootfs; arguments as in `TreeSubject`."""
    return findings_of(TreeSubject(name, {row.path: row for row in rows}, base, architecture))


@lint_rule(
    "unsupported-entry",
    LeftOutSubject,
    hint="remove or exclude it, or set `unsupported: skip` in the recipe",
)
def check_left_out(subject: LeftOutSubject) -> Iterator[Finding]:
    """The format cannot store it; the build leaves it out, or stops."""
    return (Finding(subject.name, what) for what in subject.left_out)


@lint_rule(
    "other-architecture",
    TreeSubject,
    hint=(
        "correct `architecture` in the recipe, or take the rootfs that was made for this "
        "architecture"
    ),
)
def check_architecture(subject: TreeSubject) -> Iterator[Finding]:
    """No program of the rootfs runs on a device of the architecture that the image states."""
    # A rootfs may have loaders of several architectures, but the expected one must be among them.
    rows, architecture = subject.rows, architecture_name(subject.architecture)
    heads = {
        path: row.head()
        for path in PROGRAMS
        if (row := rows.get(path)) is not None and row.head is not None
    }
    found = {path: _elf_machine(head) for path, head in heads.items() if head[:4] == b"\x7fELF"}
    due = ELF_MACHINES.get(architecture)
    if due is not None and found and due not in found.values():
        path, machine = next(iter(found.items()))
        other = next(
            (known for known, number in ELF_MACHINES.items() if number == machine),
            f"machine {machine}",
        )
        yield Finding(f"{subject.name}: {path}", f"is for {other}, not {architecture}")


def _elf_machine(head: bytes) -> int:
    return int.from_bytes(head[18:20], "big" if head[5:6] == b"\2" else "little")


@lint_rule(
    "stale-pyc",
    TreeSubject,
    severity="note",
    hint="compile with `python3 -m compileall --invalidation-mode unchecked-hash`",
)
def check_pyc(subject: TreeSubject) -> Iterator[Finding]:
    """The format records no times, so the device finds that the .py file is not the one this .pyc
    was compiled from: Python compiles it again at every start, or rewrites it.
    """
    for path, row in subject.rows.items():
        if not path.endswith(".pyc") or row.head is None or not stat.S_ISREG(row.mode):
            continue
        if (source := _source_of(path)) in subject.rows and _trusts_mtime(row.head()):
            yield Finding(
                f"{subject.name}: {path}", "is checked against the time of its source", source
            )


def _source_of(path: str) -> str:
    """Return the source that Python checks a .pyc file against."""
    folder, name = posixpath.split(path)
    if posixpath.basename(folder) == "__pycache__":
        return posixpath.join(posixpath.dirname(folder), f"{name.split('.')[0]}.py")
    return path[:-1]


def _trusts_mtime(head: bytes) -> bool:
    """Whether this head of a .pyc file has the time of its source.

    Interpreters before 3.7 have no other kind.
    """
    magic = int.from_bytes(head[:2], "little")
    return magic not in _MAGIC_WITH_FLAGS or not int.from_bytes(head[4:8], "little") & 1


@lint_rule(
    "crowded-directory",
    TreeSubject,
    hint="spread the files over several directories, or keep them in one archive",
)
def check_crowds(subject: TreeSubject) -> Iterator[Finding]:
    """Clients stop reusing files of a directory after the first 8192; the others are fetched
    again.
    """
    files = Counter(
        posixpath.dirname(path) for path, row in subject.rows.items() if stat.S_ISREG(row.mode)
    )
    for directory, count in files.items():
        if count > FILES_REUSED:
            yield Finding(f"{subject.name}: {directory}", f"{count} files")


@lint_rule("deep-tree", TreeSubject, hint="move the tree up")
def check_depth(subject: TreeSubject) -> Iterator[Finding]:
    """Clients do not reuse files more than 35 directories deep; they are fetched again."""
    for path in subject.rows:
        if path.count("/") > DEPTH_REUSED:
            yield Finding(f"{subject.name}: {path}", f"{path.count('/')} deep")


@lint_rule("no-dev-payload", ReleaseKeysSubject, hint="add `dev` to the release keys of a payload")
def check_release_keys(subject: ReleaseKeysSubject) -> Iterator[Finding]:
    """Clients ask for payloads of the release key `dev` only."""
    if "dev" not in subject.keys:
        yield Finding(subject.name, "no payload has the release key dev")


@lint_rule(
    "loses-write",
    UmaskSubject,
    hint="give the file another owner, or set its mode when the device starts",
)
def check_umask(subject: UmaskSubject) -> Iterator[Finding]:
    """Clients make a file of root that is empty, inlined or a later one of its content with their
    umask.
    """
    for path, mode, first in subject.files:
        bits = mode & 0o7777  # not by `stat`: the table of a hostile image may have any number
        twin = first and f"the content of {first}"
        yield Finding(
            f"{subject.name}: {path}", f"mode {bits:04o} becomes {bits & ~0o022:04o}", twin
        )


@lint_rule(
    "refused-index",
    EntriesSubject,
    hint="release this image to clients that know the entry only, and another image to the others",
)
def check_entries(subject: EntriesSubject) -> Iterator[Finding]:
    """Clients refuse the whole index if an entry of `manifests` is of a kind that they do not
    know.
    """
    index, later = subject.index, "otaclient to 3.14 refuses the index"
    for payload in index.partition_payloads:
        yield Finding(
            f"{subject.name}: {'/'.join(payload_id(payload))}",
            f"a partition-based payload: {later}",
        )
    if index.update_agent is not None:
        yield Finding(subject.name, f"an update agent package: {later}")
    for entry in index.unknown:
        yield Finding(
            f"{subject.name}: {entry.digest_text}",
            "an entry of unknown type: every client refuses the index",
        )


@lint_rule(
    "future-time",
    TimeSubject,
    hint="set `timestamp` to a time that has passed, or check the clock of the machine that signed",
)
def check_time(subject: TimeSubject) -> Iterator[Finding]:
    """Clients refuse an image that was signed later than their clock says, without leeway."""
    if subject.seconds is not None and subject.seconds > subject.now:
        yield Finding(subject.name, f"{utc(subject.seconds)} is in the future")


@lint_rule(
    "ignored-sys-config", SysConfigKeysSubject, hint="do what it asks for in the rootfs itself"
)
def check_sys_config(subject: SysConfigKeysSubject) -> Iterator[Finding]:
    """Clients read `persist_files` of a sys_config only (the format requires `hostname`)."""
    for key in sorted(
        subject.config.model_dump(by_alias=True, exclude_none=True).keys() - _READ_BY_CLIENTS
    ):
        yield Finding(subject.name, f"clients ignore {key}")


@lint_rule(
    "certificate-expires",
    CertificatesSubject,
    hint="sign with a fresh certificate before the release",
)
def check_certificates(subject: CertificatesSubject) -> Iterator[Finding]:
    """Clients refuse the image as soon as a certificate of its chain has expired."""
    for certificate in subject.chain:
        if certificate.expires_soon(subject.now):
            word = "expired" if certificate.not_after < subject.now else "expires"
            what = f"{word} at {utc(certificate.not_after)}, {certificate.subject}"
            yield Finding(certificate.where, what)


@lint_rule(
    "no-path-to-root",
    PathSubject,
    severity="error",
    hint="name the intermediate certificates in `sign: chain`, and the root in `verify: trust`",
)
def check_path(subject: PathSubject) -> Iterator[Finding]:
    """Clients accept a signature only if its certificates lead from the signer to a root that they
    trust.
    """
    problem = path_problem(subject.chain, subject.policy, subject.now)
    if problem is not None:
        yield Finding(problem.where, problem.what, problem.observed, problem.expected, problem.hint)


@lint_rule(
    "new-setuid",
    TreeSubject,
    hint="make sure it is meant, or drop the bit with a `set` rule",
)
def check_setuid(subject: TreeSubject) -> Iterator[Finding]:
    """Whoever runs it gets the rights of its owner or group, and the base did not have it."""
    for path, mode, before in _modes(subject):
        for bit, word in ((stat.S_ISUID, "setuid"), (stat.S_ISGID, "setgid")):
            if stat.S_ISREG(mode) and mode & bit and not (stat.S_ISREG(before) and before & bit):
                yield Finding(f"{subject.name}: {path}", f"{word}, mode {stat.S_IMODE(mode):04o}")


@lint_rule(
    "new-world-writable",
    TreeSubject,
    hint="make sure it is meant, or set another mode with a `set` rule",
)
def check_world_writable(subject: TreeSubject) -> Iterator[Finding]:
    """Every user of the device can change it, and the base did not allow that."""
    for path, mode, before in _modes(subject):
        if _is_open(mode) and not _is_open(before):
            yield Finding(f"{subject.name}: {path}", f"mode {stat.S_IMODE(mode):04o}")


def _modes(subject: TreeSubject) -> Iterator[tuple[str, int, int]]:
    """Yield path, mode, and mode in the base (0 if it is not there); nothing without a base."""
    if subject.base is not None:
        for path, row in subject.rows.items():
            yield path, row.mode, subject.base.get(path, 0)


def _is_open(mode: int) -> bool:
    """Whether anybody may write to a file, or to a directory without the sticky bit."""
    if not mode & stat.S_IWOTH:
        return False
    return stat.S_ISREG(mode) or (stat.S_ISDIR(mode) and not mode & stat.S_ISVTX)
