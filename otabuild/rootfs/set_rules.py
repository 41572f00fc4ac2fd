"""The `set` rules of a recipe: owner, mode and capabilities of individual paths."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from otabuild.errors import InputError
from otabuild.format.capabilities import parse_capability
from otabuild.format.file_table import CAPABILITY
from otabuild.rootfs.entry import Entry


@dataclass(frozen=True)
class SetRule:
    """The metadata to set on a path; None leaves it unchanged. `mode` has 12 permission bits."""

    path: str
    capability: str | None = None
    mode: int | None = None
    owner: tuple[int, int] | None = None


def apply_rules(entries: Iterable[Entry], rules: Iterable[SetRule]) -> Iterator[Entry]:
    """Apply each rule to the entry of its path.

    Raises:
        InputError: the path of a rule does not exist, or its entry cannot have the property.
    """
    waiting: dict[str, list[SetRule]] = {}
    for rule in rules:
        waiting.setdefault(rule.path, []).append(rule)
    for entry in entries:
        changed = entry
        for rule in waiting.pop(entry.path, ()):
            changed = _apply(changed, rule)
        yield changed
    if waiting:
        raise InputError(
            "a `set` rule names a path that the rootfs does not contain",
            where=", ".join(sorted(waiting)),
        )


def _apply(entry: Entry, rule: SetRule) -> Entry:
    if rule.capability is not None:
        if not entry.is_regular:
            raise InputError("only a regular file can have capabilities", where=rule.path)
        entry = entry._replace(
            xattrs={**entry.xattrs, CAPABILITY: parse_capability(rule.capability)}
        )
    if rule.mode is not None:
        if entry.is_symlink:
            raise InputError(
                "a symlink has no mode of its own", where=rule.path, hint="name what it points at"
            )
        entry = entry._replace(mode=stat.S_IFMT(entry.mode) | rule.mode)
    if rule.owner is not None:
        entry = entry._replace(uid=rule.owner[0], gid=rule.owner[1])
    return entry
