"""Attests what was built: makes a statement about it, signed as the image is signed."""

from __future__ import annotations

import os
from functools import partial

from otabuild.errors import StateError
from otabuild.format.dsse import Envelope, pre_authentication
from otabuild.format.json_text import load_json
from otabuild.format.statement import SBOM, Statement
from otabuild.packages.survey import read_inventories
from otabuild.pipeline.outside_signatures import match_answer
from otabuild.pipeline.provenance import provenance
from otabuild.pipeline.steps.built_image import open_built
from otabuild.pipeline.steps.preflight_step import CheckedSigning, check_signing
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.model import Recipe
from otabuild.recipe.named_files import naming_key
from otabuild.sbom.libraries import check_libraries
from otabuild.signing.attestation import sign_statement
from otabuild.signing.signing_request import SigningRequest
from otabuild.verification.attested import image_subjects


def provenance_statement(recipe: Recipe, workspace: Workspace, builder: str) -> Statement:
    """Return the statement about how the image of a recipe was made; errors as for `provenance`."""
    with open_built(recipe, workspace) as (image, *_):
        subjects = image_subjects(image, os.path.basename(image.path))
    return provenance(recipe, subjects, builder)


def sbom_statement(recipe: Recipe, workspace: Workspace) -> Statement:
    """Return the statement that this is an image's bill of materials; errors as `make_sbom`."""
    check_libraries()
    from otabuild.sbom.cyclonedx import make_sbom

    unpackaged = recipe.sbom is not None and recipe.sbom.unpackaged
    with open_built(recipe, workspace) as (image, *_):
        contents = list(read_inventories(image.payloads))
        predicate = load_json(make_sbom(image, contents, unpackaged=unpackaged))
        subjects = image_subjects(image, os.path.basename(image.path))
    return Statement(subject=subjects, predicate_type=SBOM, predicate=predicate)


def attest(recipe: Recipe, workspace: Workspace, statement: Statement) -> bytes:
    """Return the signed statement, with the signer of the image.

    Raises:
        StateError: the recipe does not sign its image, or its signatures are made outside.
        OtabuildError: the key cannot be reached, or does not sign.
    """
    _, chain, signer = _signing(recipe, workspace)
    if signer is None:
        raise StateError(
            "the signature of the attestation is made outside",
            where=recipe.file,
            hint=(
                f"`otabuild attest {recipe.file} --request FILE` writes what to sign, and --answer "
                "FILE takes the signature"
            ),
        )
    return sign_statement(statement, chain, signer)


def request(
    recipe: Recipe, workspace: Workspace, statement: Statement, name: str
) -> SigningRequest:
    """Return what has to be signed outside for a statement; `name` is the file it is for."""
    chain = tuple(certificate.x509 for certificate in _signing(recipe, workspace).chain)
    return SigningRequest(name, pre_authentication(statement.to_json()), chain)


def with_answer(asked: SigningRequest, statement: Statement, answer: bytes, where: str) -> bytes:
    """Return the statement with a signature that was made outside.

    Raises:
        FormatError, TrustError: the answer is not a signature of this statement with the key of the
        certificate.
    """
    _, signature = match_answer(answer, [asked], where)
    return Envelope(statement.to_json(), asked.chain, signature).to_json()


def _signing(recipe: Recipe, workspace: Workspace) -> CheckedSigning:
    if recipe.sign is None:
        raise StateError(
            "the recipe does not sign its image",
            where=recipe.file,
            hint="add a `sign` section: an attestation is signed",
        )
    return check_signing(
        recipe.sign, recipe.verify, recipe.timestamp, workspace, partial(naming_key, recipe)
    )
