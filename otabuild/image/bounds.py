"""Bounds on what is rebuilt from an image: a few KiB of frames can declare petabytes.

All of that would be within the limits of section 7.

Limits of single values do not help there: what counts is the sum over everything that one command
makes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from otabuild.errors import LimitError
from otabuild.format import limits
from otabuild.format.sizes import human_size


class BoundsError(LimitError):
    """Rebuilding contents would exceed the bounds; then no content at all is rebuilt."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may be spent on rebuilding contents from one open image.

    Attributes:
        size: bytes read and made in all steps of all contents together; None for any number.
        expired: tells whether the time for it is over. Called often, from any thread.
    """

    size: int | None = limits.REBUILT
    expired: Callable[[], bool] = lambda: False


UNBOUNDED = Bounds(size=None)
"""For an image whose contents this build has stored itself."""


class ContentBudget:
    """Counts what was spent of bounds; thread-safe."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._spent = 0
        self._lock = threading.Lock()

    def spend(self, size: int, where: str) -> None:
        """Count bytes before they are made.

        Raises:
            BoundsError: they would be too many.
        """
        with self._lock:
            self._spent += size
        self.check_size(self._spent, where)

    def check_size(self, size: int, where: str) -> None:
        """Check bytes that will be made, without counting them.

        Raises:
            BoundsError: they would be too many.
        """
        allowed = self._bounds.size
        if allowed is not None and size > allowed:
            raise BoundsError(
                "its contents are larger than is allowed",
                where=where,
                observed=f"{human_size(size)} to make",
                expected=f"at most {human_size(allowed)}",
                hint=(
                    "if the image is meant to be so large, allow more: --max-content of the command"
                ),
            )

    def check_time(self, where: str) -> None:
        """Check that there is time left.

        Raises:
            BoundsError: there is none.
        """
        if self._bounds.expired():
            hint = (
                "if the machine is slow or the image large, allow more: "
                "--max-minutes of the command"
            )
            raise BoundsError(
                "rebuilding its contents takes longer than is allowed", where=where, hint=hint
            )
