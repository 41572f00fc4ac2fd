"""The libraries of the extra `sbom`, which is not always installed."""

from __future__ import annotations

import importlib.util

from otabuild.errors import InputError, how_to_install


def check_libraries() -> None:
    """Check that the libraries are there, before anything imports them.

    Raises:
        InputError: one of them is missing.
    """
    missing = [
        name for name in ("cyclonedx", "packageurl") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise InputError(
            "a library for bills of materials is not installed",
            where=", ".join(missing),
            hint=how_to_install("sbom"),
        )
