"""The architectures that the format names, and their other common names."""

from __future__ import annotations

from collections.abc import Mapping

ELF_MACHINES: Mapping[str, int] = {"x86_64": 62, "arm64": 183}
"""The architectures of the format, and the `e_machine` of their ELF files."""
_ALIASES = {"amd64": "x86_64", "x64": "x86_64", "x86-64": "x86_64", "aarch64": "arm64", "armv8": "arm64"}


def architecture_name(name: str) -> str:
    """Return the format's name for an architecture; a name that the format does not know is returned unchanged."""
    folded = name.casefold()
    return _ALIASES.get(folded, folded if folded in ELF_MACHINES else name)


def is_other_architecture(one: str, two: str) -> bool:
    """Whether two names certainly mean different architectures; two names unknown to the format never do."""
    names = {architecture_name(one), architecture_name(two)}
    return len(names) == 2 and not names.isdisjoint(ELF_MACHINES)
