"""File capabilities, as text and as the value of `security.capability` (section 6)."""

from __future__ import annotations

import re
import struct

from otabuild.errors import InputError

_REVISION_1, _REVISION_2, _REVISION_3 = 0x01000000, 0x02000000, 0x03000000
_SIZES = {_REVISION_1: 12, _REVISION_2: 20, _REVISION_3: 24}
_NAMES = (
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable "
    "net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio "
    "sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time "
    "sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog "
    "wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore"
)
CAPABILITIES = _NAMES.split()
"""Names of capabilities without `cap_`; the position of each is its number."""
_EFFECTIVE = 1
_CLAUSE = re.compile(r"(?P<names>[a-z_,]*)[+=](?P<flags>[eip]+)")


def parse_capability(text: str) -> bytes:
    """Return `security.capability` for a text like `cap_net_raw+ep`, in 20 bytes of revision 2.

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


def format_capability(value: bytes) -> str:
    """Return text such as `cap_net_raw+ep` for a `security.capability`; hex if it is invalid."""
    if len(value) < 4:
        return value.hex()
    (magic,) = struct.unpack_from("<I", value)
    if _SIZES.get(magic & 0xFF000000) != len(value):
        return value.hex()
    permitted = inheritable = 0
    # The low 32 capabilities, permitted and inheritable, and then the high ones, which the first
    # revision lacks.
    for i, (more_permitted, more_inheritable) in enumerate(struct.iter_unpack("<2I", value[4:20])):
        permitted |= more_permitted << 32 * i
        inheritable |= more_inheritable << 32 * i
    by_flags: dict[str, list[str]] = {}
    for number in range((permitted | inheritable).bit_length()):
        held = ("i" if inheritable >> number & 1 else "") + ("p" if permitted >> number & 1 else "")
        if held:
            by_flags.setdefault(("e" if magic & 1 else "") + held, []).append(_name(number))
    return " ".join(f"{','.join(names)}+{flags}" for flags, names in by_flags.items()) or "none"


def _name(number: int) -> str:
    return f"cap_{CAPABILITIES[number]}" if number < len(CAPABILITIES) else f"cap_{number}"


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
    return InputError(
        f"not a capability text: {why}", observed=text[:200], expected="as in cap_net_raw+ep"
    )
