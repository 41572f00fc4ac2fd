"""Finds what will cause trouble on the device although the image is valid. Rules work on small rows from any source.

A rule knows neither images nor recipes; `lint_image.py` feeds it from an image, `pipeline/lint.py` from a recipe.
"""

from __future__ import annotations

import posixpath
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from otabuild.errors import InputError, printable
from otabuild.format.architectures import ELF_MACHINES, architecture_name
from otabuild.format.sys_config import SysConfig
from otabuild.format.times import utc
from otabuild.signing.certificates import Certificate

FILES_REUSED = 8192
DEPTH_REUSED = 35
HEAD = 20
"""Number of bytes that `Row.head` returns: they include the flags of a .pyc file and the machine of an ELF file."""
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
_MAGIC_WITH_FLAGS = range(3392, 20_000)
_READ_BY_CLIENTS = {"persist_files", "hostname"}


@dataclass(frozen=True, slots=True)
class LintRule:
    """A rule: its reason, and what to do. Its id silences it."""

    reason: str
    hint: str


RULES: Mapping[str, LintRule] = {
    "unsupported-entry": LintRule(
        "The format cannot store it; the build leaves it out, or stops.",
        "remove or exclude it, or set `unsupported: skip` in the recipe",
    ),
    "other-architecture": LintRule(
        "No program of the rootfs runs on a device of the architecture that the image states.",
        "correct `architecture` in the recipe, or take the rootfs that was made for this architecture",
    ),
    "stale-pyc": LintRule(
        "The format records no times, so the device finds that the .py file is not the one this .pyc was compiled "
        "from: Python compiles it again at every start, or rewrites it.",
        "compile with `python3 -m compileall --invalidation-mode unchecked-hash`",
    ),
    "crowded-directory": LintRule(
        f"Clients stop reusing files of a directory after the first {FILES_REUSED}; the others are fetched again.",
        "spread the files over several directories, or keep them in one archive",
    ),
    "deep-tree": LintRule(
        f"Clients do not reuse files more than {DEPTH_REUSED} directories deep; they are fetched again.",
        "move the tree up",
    ),
    "no-dev-payload": LintRule(
        "Clients ask for payloads of the release key `dev` only.", "add `dev` to the release keys of a payload"
    ),
    "future-time": LintRule(
        "Clients refuse an image that was signed later than their clock says, without leeway.",
        "set `timestamp` to a time that has passed, or check the clock of the machine that signed",
    ),
    "ignored-sys-config": LintRule(
        "Clients read `persist_files` of a sys_config only (the format requires `hostname`).",
        "do what it asks for in the rootfs itself",
    ),
    "certificate-expires": LintRule(
        "Clients refuse the image as soon as a certificate of its chain has expired.",
        "sign with a fresh certificate before the release",
    ),
    "new-setuid": LintRule(
        "Whoever runs it gets the rights of its owner or group, and the base did not have it.",
        "make sure it is meant, or drop the bit with a `set` rule",
    ),
    "new-world-writable": LintRule(
        "Every user of the device can change it, and the base did not allow that.",
        "make sure it is meant, or set another mode with a `set` rule",
    ),
}


class LintFinding(NamedTuple):
    """A finding of a rule, and its place: a path, a document or a payload; `what` is one phrase."""

    rule: str
    where: str
    what: str

    def to_value(self) -> dict[str, str]:
        """Return the finding as plain JSON values, with the rule's reason and hint."""
        rule = RULES[self.rule]
        return {**self._asdict(), "reason": rule.reason, "hint": rule.hint}

    def __str__(self) -> str:
        """Return the finding on one line, safe to print."""
        return printable(f"{self.where}: {self.what} [{self.rule}]")


class Row(NamedTuple):
    """A path of a rootfs: its whole st_mode and, if `has_head` is true, a function that reads its first 20 bytes."""

    path: str
    mode: int
    head: Callable[[], bytes] | None = None


def check_ignored(rules: Iterable[str]) -> frozenset[str]:
    """Return the ids of rules to silence.

    Raises:
        InputError: one of them is not a rule.
    """
    ignored = frozenset(rules)
    unknown = ignored - RULES.keys()
    if unknown:
        raise InputError("no such rule", observed=", ".join(sorted(unknown)), expected=", ".join(RULES))
    return ignored


def has_head(path: str) -> bool:
    """Whether a rule checks the first bytes of a file with this path."""
    return path.endswith(".pyc") or path in PROGRAMS


def lint_tree(
    rows: Iterable[Row], name: str, base: Mapping[str, int] | None = None, architecture: str = ""
) -> Iterator[LintFinding]:
    """Check a rootfs.

    Args:
        rows: every path of the rootfs.
        name: the payload or rootfs, for messages.
        base: st_mode of every path of the image that the device runs now; None skips rules that compare with it.
        architecture: the architecture according to the recipe or image.
    """
    files: Counter[str] = Counter()
    paths = {row.path: row for row in rows}
    for row in paths.values():
        where = f"{name}: {row.path}"
        if stat.S_ISREG(row.mode):
            files[posixpath.dirname(row.path)] += 1
            if (
                row.head is not None
                and row.path.endswith(".pyc")
                and _source_of(row.path) in paths
                and _trusts_mtime(row.head())
            ):
                yield LintFinding("stale-pyc", where, "is checked against the time of its source")
        if row.path.count("/") > DEPTH_REUSED:
            yield LintFinding("deep-tree", where, f"{row.path.count('/')} deep")
        if base is not None:
            yield from _lint_mode(row, where, base.get(row.path, 0))
    for directory, count in files.items():
        if count > FILES_REUSED:
            yield LintFinding("crowded-directory", f"{name}: {directory}", f"{count} files")
    yield from _lint_architecture(paths, name, architecture_name(architecture))


def _lint_architecture(rows: Mapping[str, Row], name: str, architecture: str) -> Iterator[LintFinding]:
    """Check the loaders: a rootfs may have several architectures, but the expected one must be among them."""
    heads = {path: row.head() for path in PROGRAMS if (row := rows.get(path)) is not None and row.head is not None}
    found = {path: _elf_machine(head) for path, head in heads.items() if head[:4] == b"\x7fELF"}
    due = ELF_MACHINES.get(architecture)
    if due is not None and found and due not in found.values():
        path, machine = next(iter(found.items()))
        other = next((known for known, number in ELF_MACHINES.items() if number == machine), f"machine {machine}")
        yield LintFinding("other-architecture", f"{name}: {path}", f"is for {other}, not {architecture}")


def _elf_machine(head: bytes) -> int:
    return int.from_bytes(head[18:20], "big" if head[5:6] == b"\2" else "little")


def _lint_mode(row: Row, where: str, before: int) -> Iterator[LintFinding]:
    for bit, word in ((stat.S_ISUID, "setuid"), (stat.S_ISGID, "setgid")):
        if stat.S_ISREG(row.mode) and row.mode & bit and not (stat.S_ISREG(before) and before & bit):
            yield LintFinding("new-setuid", where, f"{word}, mode {stat.S_IMODE(row.mode):04o}")
    if _is_open(row.mode) and not _is_open(before):
        yield LintFinding("new-world-writable", where, f"mode {stat.S_IMODE(row.mode):04o}")


def _is_open(mode: int) -> bool:
    """Whether anybody may write to a file, or to a directory without the sticky bit."""
    if not mode & stat.S_IWOTH:
        return False
    return stat.S_ISREG(mode) or (stat.S_ISDIR(mode) and not mode & stat.S_ISVTX)


def _source_of(path: str) -> str:
    """Return the source that Python checks a .pyc file against."""
    folder, name = posixpath.split(path)
    if posixpath.basename(folder) == "__pycache__":
        return posixpath.join(posixpath.dirname(folder), f"{name.split('.')[0]}.py")
    return path[:-1]


def _trusts_mtime(head: bytes) -> bool:
    """Whether this head of a .pyc file has the time of its source; interpreters before 3.7 have no other kind."""
    magic = int.from_bytes(head[:2], "little")
    return magic not in _MAGIC_WITH_FLAGS or not int.from_bytes(head[4:8], "little") & 1


def lint_sys_config(config: SysConfig, name: str) -> Iterator[LintFinding]:
    """Check the sys_config of a payload."""
    for key in sorted(config.model_dump(by_alias=True, exclude_none=True).keys() - _READ_BY_CLIENTS):
        yield LintFinding("ignored-sys-config", name, f"clients ignore {key}")


def lint_release_keys(keys: Iterable[str], name: str) -> Iterator[LintFinding]:
    """Check the release keys of all payloads of an image."""
    if "dev" not in set(keys):
        yield LintFinding("no-dev-payload", name, "no payload has the release key dev")


def lint_time(seconds: int | None, where: str, now: int) -> Iterator[LintFinding]:
    """Check the time of the signature, or of the build before signing (Unix seconds)."""
    if seconds is not None and seconds > now:
        yield LintFinding("future-time", where, f"{utc(seconds)} is in the future")


def lint_chain(chain: Iterable[Certificate], now: int) -> Iterator[LintFinding]:
    """Check the certificates in an image."""
    for certificate in chain:
        if certificate.expires_soon(now):
            word = "expired" if certificate.not_after < now else "expires"
            yield LintFinding(
                "certificate-expires",
                certificate.where,
                f"{word} at {utc(certificate.not_after)}, {certificate.subject}",
            )
