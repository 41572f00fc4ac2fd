"""Compares a new build with what a provenance recorded of an earlier one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from otabuild.errors import FormatError
from otabuild.format.statement import INDEX, Statement
from otabuild.format.times import parse_time
from otabuild.image.image import open_image
from otabuild.pipeline.provenance import dependencies
from otabuild.pipeline.signers import signs_alike
from otabuild.recipe.model import Recipe
from otabuild.verification.attested import image_subjects


def recorded_timestamp(statement: Statement, where: str) -> int:
    """Return the timestamp of the recorded build, in Unix seconds.

    Raises:
        FormatError: the statement is not the provenance of a build of otabuild.
    """
    try:
        return parse_time(statement.predicate["buildDefinition"]["externalParameters"]["timestamp"])
    except (LookupError, TypeError, AttributeError):
        raise FormatError("not the provenance of a build of otabuild", where=where) from None


def differing(statement: Statement, artifact: str, recipe: Recipe) -> list[str]:
    """Return the subjects of a statement that a new artifact does not have.

    If the signer makes another signature each time, the artifact is built without one: then
    index.json, which has the time of the signature, and the whole differ by that, and only the
    payloads are compared.
    """
    with open_image(artifact) as image:
        found = {subject.name: subject.digest.sha256 for subject in image_subjects(image, "")}
    named = {subject.name: subject.digest.sha256 for subject in statement.subject}
    payloads = {name for name in (*named, *found) if "/" in name}
    differs = sorted(name for name in payloads if named.get(name) != found.get(name))
    if recipe.sign is None or signs_alike(recipe.sign):
        for name in sorted(named.keys() - payloads):
            # What is neither a payload nor index.json is the artifact, whatever its file was called
            # then.
            own = INDEX if name == INDEX else ""
            if named[name] != found[own]:
                differs.append(name)
    return differs


def changed_inputs(statement: Statement, recipe: Recipe) -> list[str]:
    """Return the names of the recorded inputs that changed, or are missing or new."""
    then = statement.predicate["buildDefinition"].get("resolvedDependencies", [])
    before, now = _digests(then), _digests(dependencies(recipe))
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def _digests(descriptors: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {str(one.get("name")): one.get("digest") for one in descriptors}
