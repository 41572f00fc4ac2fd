"""Who builds: the identity that a provenance names."""

from __future__ import annotations

from otabuild.errors import InputError

BUILDER = "OTABUILD_BUILDER_ID"
"""Environment variable with the identity of whoever builds, a URI."""


def check_builder(builder: str) -> None:
    """Check that the builder is known.

    Raises:
        InputError: it is not.
    """
    if not builder:
        raise InputError(
            "who builds is not known, so a provenance would say nothing",
            where=BUILDER,
            hint=(
                f"set {BUILDER} to a URI that names this builder, such as that of the CI job, or "
                "give --builder-id"
            ),
        )
