"""The architectures that the format names, and their other common names.

Images say `x86_64`, `aarch64` or `arm64`; otaclient packages say `x86_64` or `arm64`. A name is
mapped only where it is compared, and written as its author wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping

NAMES = ("x86_64", "aarch64", "arm64")
"""What the architecture of a payload may be."""
ELF_MACHINES: Mapping[str, int] = {"x86_64": 62, "arm64": 183}
"""The architectures of the format, and the `e_machine` of their ELF files."""
_ALIASES = {
    "amd64": "x86_64",
    "x64": "x86_64",
    "x86-64": "x86_64",
    "aarch64": "arm64",
    "armv8": "arm64",
}


def architecture_name(name: str) -> str:
    """Return the format's name for an architecture, or the name itself if the format has none."""
    folded = name.casefold()
    return _ALIASES.get(folded, folded if folded in ELF_MACHINES else name)


def is_other_architecture(one: str, two: str) -> bool:
    """Whether two names certainly mean different architectures.

    Two names unknown to the format never do.
    """
    names = {architecture_name(one), architecture_name(two)}
    return len(names) == 2 and not names.isdisjoint(ELF_MACHINES)
