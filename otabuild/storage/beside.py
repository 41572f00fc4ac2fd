"""Documents beside an artifact: their names, and which of them exist."""

from __future__ import annotations

import os

SBOM = ".cdx.json"
"""The bill of materials."""
PROVENANCE = ".provenance.json"
"""How the artifact was made, as a signed attestation."""
SBOM_ATTESTATION = ".cdx.attestation.json"
"""The bill of materials, as a signed attestation."""
VEX = ".vex.json"
"""What is said about known vulnerabilities of components."""

SUFFIXES = (SBOM, PROVENANCE, SBOM_ATTESTATION, VEX)


def vex_beside(sbom: str) -> str:
    """Return the path of the VEX document that belongs to a bill of materials."""
    return f"{sbom.removesuffix(SBOM)}{VEX}"


def documents_beside(artifact: str) -> list[str]:
    """Return the paths of documents beside an artifact, about it, and part of the release."""
    paths = (f"{artifact}{suffix}" for suffix in SUFFIXES)
    return [path for path in paths if os.path.isfile(path)]
