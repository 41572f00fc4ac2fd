"""attest: says how an image was made, or what is in it, under the signature of its signer."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from otabuild import session
from otabuild.commands.output import Parsers, add_json, emit
from otabuild.errors import InputError, StateError, printable
from otabuild.format.sizes import counted
from otabuild.progress import tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otabuild.driver import BuildDriver
    from otabuild.format.statement import Statement
    from otabuild.image.image import Image
    from otabuild.signing.trust import TrustPolicy


def add(parsers: Parsers) -> None:
    """Add the command."""
    parsers.group("Sign")
    attest = parsers.add_parser(
        "attest", help="sign a statement about a built image: how it was made, or what is in it"
    )
    attest.add_argument(
        "recipe", metavar="RECIPE", help="the recipe of the image, which must be built"
    )
    attest.add_argument(
        "--sbom", action="store_true", help="attest its bill of materials instead of its provenance"
    )
    attest.add_argument(
        "--builder-id",
        metavar="URI",
        help="who builds; default: OTABUILD_BUILDER_ID of the environment",
    )
    outside = attest.add_mutually_exclusive_group()
    outside.add_argument(
        "--request", metavar="FILE", help="write what has to be signed outside to this file"
    )
    outside.add_argument(
        "--answer", metavar="FILE", help="the signature of the request, as for sign-finish"
    )
    attest.add_argument(
        "-o", "--output", metavar="FILE", help="the attestation; default: beside the artifact"
    )
    add_json(attest)
    attest.set_defaults(run=run_attest)


def add_attestations(parser: argparse.ArgumentParser) -> None:
    """Add the options that name attestations to check."""
    group = parser.add_argument_group("attestations, which the same trust applies to")
    group.add_argument(
        "--provenance", metavar="FILE", help="check that this says how this image was made"
    )
    group.add_argument(
        "--sbom", metavar="FILE", help="check that this is its attested bill of materials"
    )


def check_attestations(
    args: argparse.Namespace, image: Image, policy: TrustPolicy | None, now: int
) -> dict[str, Statement]:
    """Return the statements about an image, by the options that name them, all verified."""
    from otabuild.format.dsse import LIMIT
    from otabuild.format.statement import PROVENANCE, SBOM
    from otabuild.signing.attestation import verify_attestation
    from otabuild.storage.files import read_file
    from otabuild.verification.attested import check_subjects

    found = {}
    for name, path, kind in (
        ("provenance", args.provenance, PROVENANCE),
        ("sbom", args.sbom, SBOM),
    ):
        if path is None:
            continue
        if policy is None:
            raise InputError(
                "needs a trust anchor",
                where=f"--{name}",
                hint="name CA certificates with --ca or --ca-dir",
            )
        statement = verify_attestation(read_file(path, LIMIT), path, kind, policy, now).statement
        check_subjects(statement, image, path)
        found[name] = statement
    return found


def attested_lines(statements: dict[str, Statement]) -> Iterator[str]:
    """Say what verified statements say, in one line each."""
    if made := statements.get("provenance"):
        run, definition = (made.predicate.get(key, {}) for key in ("runDetails", "buildDefinition"))
        recipe = definition.get("externalParameters", {}).get("recipe")
        yield printable(f"  provenance made from {recipe} by {run.get('builder', {}).get('id')}")
    if listed := statements.get("sbom"):
        number = counted(len(listed.predicate.get("components", ())), "component")
        yield f"  sbom       {number}, attested for this image"


def run_attest(args: argparse.Namespace) -> int:
    """Write an attestation, or the request for its signature."""
    from otabuild.driver import BuildDriver
    from otabuild.pipeline.builder import BUILDER
    from otabuild.pipeline.steps import attesting
    from otabuild.pipeline.steps.built_image import beside
    from otabuild.storage.beside import PROVENANCE, SBOM_ATTESTATION
    from otabuild.storage.files import read_file, write_file

    driver = BuildDriver.load(args.recipe)
    recipe, workspace = driver.recipe, driver.workspace
    _check_built(driver)
    about = recipe.output or recipe.file
    builder = args.builder_id or os.environ.get(BUILDER, "")
    if args.sbom:
        statement, suffix = attesting.sbom_statement(recipe, workspace), SBOM_ATTESTATION
    else:
        statement = attesting.provenance_statement(recipe, workspace, builder)
        suffix = PROVENANCE
    path = args.output or f"{beside(recipe, workspace)}{suffix}"
    if args.request or args.answer:
        asked = attesting.request(recipe, workspace, statement, os.path.basename(path))
        if args.request:
            write_file(args.request, asked.to_json())
            value = {"request": args.request, "for": path, "sha256": asked.digest.hex()}
            emit(args, value, [f"{args.request}: sign sha256:{asked.digest.hex()} for {path}"])
            return 0
        raw = attesting.with_answer(asked, statement, read_file(args.answer), args.answer)
    else:
        raw = attesting.attest(recipe, workspace, statement)
    write_file(path, raw)
    emit(args, {"attestation": path, "about": about}, [path])
    return 0


def _check_built(driver: BuildDriver) -> None:
    """Check that the artifact is what a build would make now: nothing else may be said about it.

    Raises:
        StateError: a build has something to do.
    """
    with session.locked(driver.workspace.work, wait=False):
        reasons = driver.artifact_reasons(tell)
    if reasons:
        raise StateError(
            "the artifact is not what the recipe would make now",
            where=driver.recipe.output or driver.recipe.file,
            observed="; ".join(reasons),
            hint=(
                f"otabuild build {driver.recipe.file}; with `timestamp: now`, "
                "every build is different"
            ),
        )
