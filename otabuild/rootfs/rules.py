"""The `set` rules of a recipe: owner, mode and capabilities of individual paths."""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from otabuild.errors import InputError
from otabuild.format.file_table import CAPABILITY
from otabuild.rootfs.entry import Entry

_NAMES = (
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service "
    "net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct "
    "sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap "
    "mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore"
)
CAPABILITIES = _NAMES.split()
"""Names of capabilities without `cap_`; the position of each is its number."""
_REVISION_2 = 0x02000000
_EFFECTIVE = 1
_CLAUSE = re.compile(r"(?P<names>[a-z_,]*)[+=](?P<flags>[eip]+)")


@dataclass(frozen=True)
class SetRule:
    """The metadata to set on one path; None leaves a property unchanged. `mode` has the 12 permission bits."""

    path: str
    capability: str | None = None
    mode: int | None = None
    owner: tuple[int, int] | None = None


def parse_capability(text: str) -> bytes:
    """Return the value of `security.capability` for a text like `cap_net_raw,cap_net_admin+ep` (revision 2, 20 bytes).

    Raises:
        InputError: the text is not a list of capabilities with flags that a file can have.
    """
    permitted = inheritable = 0
    effective = set()
    for clause in text.split():
        found = _CLAUSE.fullmatch(clause.lower())
        if found is None:
            raise _bad_capability(text, "expected names, `+` or `=`, and flags of e, i and p")
        mask = _mask(found["names"], text)
        permitted |= mask if "p" in found["flags"] else 0
        inheritable |= mask if "i" in found["flags"] else 0
        effective.add("e" in found["flags"])
    if len(effective) != 1:
        raise _bad_capability(text, "a file has one effective flag for all its capabilities")
    return struct.pack(
        "<5I",
        _REVISION_2 | (_EFFECTIVE if effective.pop() else 0),
        permitted & 0xFFFFFFFF,
        inheritable & 0xFFFFFFFF,
        permitted >> 32,
        inheritable >> 32,
    )


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
        raise InputError("a `set` rule names a path that the rootfs does not contain", where=", ".join(sorted(waiting)))


def _apply(entry: Entry, rule: SetRule) -> Entry:
    if rule.capability is not None:
        if not entry.is_regular:
            raise InputError("only a regular file can have capabilities", where=rule.path)
        entry = entry._replace(xattrs={**entry.xattrs, CAPABILITY: parse_capability(rule.capability)})
    if rule.mode is not None:
        if entry.is_symlink:
            raise InputError("a symlink has no mode of its own", where=rule.path, hint="name what it points at")
        entry = entry._replace(mode=stat.S_IFMT(entry.mode) | rule.mode)
    if rule.owner is not None:
        entry = entry._replace(uid=rule.owner[0], gid=rule.owner[1])
    return entry


def _mask(names: str, text: str) -> int:
    if not names:
        return (1 << len(CAPABILITIES)) - 1
    mask = 0
    for name in names.split(","):
        if name.removeprefix("cap_") not in CAPABILITIES:
            raise _bad_capability(text, f"{name} is not a capability")
        mask |= 1 << CAPABILITIES.index(name.removeprefix("cap_"))
    return mask


def _bad_capability(text: str, why: str) -> InputError:
    return InputError(f"not a capability text: {why}", observed=text[:200], expected="as in cap_net_raw+ep")
