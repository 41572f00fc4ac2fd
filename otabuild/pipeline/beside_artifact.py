"""Writes the documents about a new artifact beside it."""

from __future__ import annotations

from otabuild.image.image import open_image
from otabuild.packages.survey import read_inventories
from otabuild.recipe.model import SbomRecipe
from otabuild.sbom.libraries import check_libraries
from otabuild.storage.beside import SBOM
from otabuild.storage.files import write_file


def write_sbom(artifact: str, sbom: SbomRecipe) -> list[str]:
    """Write the bill of materials of an artifact; return notes about what could not be read.

    Raises:
        InputError: the libraries for it are not installed.
        OtabuildError: the artifact cannot be read, or the document not written.
    """
    check_libraries()
    from otabuild.sbom.cyclonedx import make_sbom

    with open_image(artifact) as image:
        contents = list(read_inventories(image.payloads))
        write_file(f"{artifact}{SBOM}", make_sbom(image, contents, unpackaged=sbom.unpackaged))
    return list(dict.fromkeys(note.why for _, inventory in contents for note in inventory.notes))
