"""in-toto statements: what is said about an image, and about which image exactly."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StrictStr, StringConstraints

from otabuild.format.document import Document

PROVENANCE = "https://slsa.dev/provenance/v1"
"""The predicate that says how an image was made."""
SBOM = "https://cyclonedx.org/bom"
"""The predicate that is a bill of materials."""
INDEX = "index.json"
"""The name of the subject that stands for the image in every form."""


class Digests(Document):
    """The digests of something."""

    sha256: Annotated[str, StringConstraints(strict=True, pattern="^[0-9a-f]{64}$")]


class Subject(Document):
    """What a statement is about."""

    name: StrictStr
    digest: Digests


class Statement(Document):
    """An in-toto statement, version 1: that a predicate holds for its subjects."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(
        default="https://in-toto.io/Statement/v1", alias="_type"
    )
    subject: tuple[Subject, ...]
    predicate_type: StrictStr = Field(alias="predicateType")
    predicate: dict[str, Any]
