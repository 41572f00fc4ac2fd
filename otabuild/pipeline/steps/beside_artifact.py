"""Writes the documents about a new image."""

from __future__ import annotations

from contextlib import AbstractContextManager

from otabuild.packages.survey import read_inventories
from otabuild.pipeline.builder import BUILDER
from otabuild.pipeline.signers import signed_outside
from otabuild.pipeline.steps.attesting import attest, provenance_statement
from otabuild.pipeline.steps.built_image import BuiltImage, beside
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.model import Recipe, SbomRecipe
from otabuild.sbom.libraries import check_libraries
from otabuild.storage.beside import PROVENANCE, SBOM, VEX
from otabuild.storage.files import read_file, write_file


def write_provenance(recipe: Recipe, workspace: Workspace) -> list[str]:
    """Write how an image was made, signed; return a note if its signature is made outside.

    Raises:
        InputError: who builds is not known, or an input cannot be read.
        OtabuildError: the signer failed, or the document cannot be written.
    """
    if signed_outside(recipe):
        return [
            f"its provenance has to be signed, too: `otabuild attest {recipe.file} --request FILE`"
        ]
    statement = provenance_statement(recipe, workspace, workspace.environ.get(BUILDER, ""))
    write_file(f"{beside(recipe, workspace)}{PROVENANCE}", attest(recipe, workspace, statement))
    return []


def write_sbom(
    opened: AbstractContextManager[BuiltImage], stem: str, sbom: SbomRecipe
) -> list[str]:
    """Write the bill of materials of an image; return notes about what could not be read.

    Args:
        opened: the image, which is closed afterwards.
        stem: what the name of the document begins with; see `beside`.
        sbom: what it has to list.

    Raises:
        InputError: the libraries for it are not installed.
        OtabuildError: the artifact cannot be read, or the document not written.
    """
    check_libraries()
    from otabuild.sbom.cyclonedx import make_sbom

    with opened as (image, *_):
        contents = list(read_inventories(image.payloads))
        write_file(f"{stem}{SBOM}", make_sbom(image, contents, unpackaged=sbom.unpackaged))
    return list(dict.fromkeys(note.why for _, inventory in contents for note in inventory.notes))


def write_vex(stem: str, path: str) -> None:
    """Copy a VEX document beside a bill of materials; `stem` is what both names begin with.

    Raises:
        InputError, FormatError, LimitError: it is not a VEX document about components of that.
        StorageError: it cannot be read or written.
    """
    from otabuild.sbom.vex import LIMIT, check_vex

    raw = read_file(path, LIMIT)
    check_vex(raw, path, read_file(f"{stem}{SBOM}"))
    write_file(f"{stem}{VEX}", raw)
