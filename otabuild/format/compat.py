"""What early releases of the reference builder wrote against the format; read on request only.

Whoever opens an image decides once, with one value, and everything that reads the image asks that
value. It remembers what was met, so that a person is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Early(Enum):
    """A deviation from the format, in words for a person."""

    PLAIN_FRAME = (
        "zstd frames without a checksum, or tables without a content size (builders to 0.9.0)"
    )
    NOT_UNIQUE = (
        "a resource table whose digests are not declared unique; they were "
        "counted (builders to 0.10.1)"
    )
    SYS_CONFIG_TYPE = "a sys_config with the media type that it had at first (builders to 0.9.0)"
    NO_LINKS = (
        "shared inodes without links_count, which clients write as separate "
        "files (builders to 0.10.1)"
    )


@dataclass(frozen=True, slots=True)
class Compat:
    """Whether deviations of early builders are read, and which of them were met."""

    is_on: bool = False
    met: set[Early] = field(default_factory=set)

    def accepts(self, deviation: Early) -> bool:
        """Say whether to read a deviation that was met, and remember it if so."""
        if self.is_on:
            self.met.add(deviation)
        return self.is_on

    @property
    def notes(self) -> tuple[str, ...]:
        """What was met, in the order of `Early`."""
        return tuple(deviation.value for deviation in Early if deviation in self.met)


STRICT = Compat()
"""Reads what the format allows, and nothing else."""
