"""Verify: verifies the artifact completely."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from otabuild.errors import InputError, NotVerifiedError, TrustError
from otabuild.format.times import DAY
from otabuild.pipeline.step import KeyPart, Outcome
from otabuild.pipeline.steps.artifact_step import ArtifactStep, Built
from otabuild.pipeline.steps.reading_step import ReadingStep
from otabuild.pipeline.trust_settings import next_date, trust_key, trust_policy
from otabuild.recipe.sign import Sign, VerifyRecipe

_NOT_SIGNED = "NOT SIGNED: everything but its authenticity was verified"
_HOW_TO_SIGN = (
    "add `sign` and `verify: {trust: [root.pem]}` to the recipe, or `verify: {unsigned: true}` if "
    "the image is meant to have no signature"
)


@dataclass(frozen=True)
class VerifyInputs:
    """What the verdict depends on."""

    artifact: Annotated[Built, KeyPart("artifact")]
    trust: Annotated[object, KeyPart("whom to trust")]
    day: Annotated[int, KeyPart("today's date")]
    sign: Sign | None
    verify: VerifyRecipe | None
    recipe_file: str


@dataclass(frozen=True)
class Verified:
    """The counts of what was verified."""

    counts: Mapping[str, int]


@dataclass(frozen=True)
class VerifyStep(ReadingStep[VerifyInputs, Verified]):
    """Verify the artifact completely."""

    kind = "verify"
    follows = "build"
    results_type = Verified

    @property
    def doc(self) -> str:
        """See `Step.doc`."""
        return f"verify {self.recipe.output or self.recipe.name}"

    def inputs(self) -> VerifyInputs:
        """See `Step.inputs`."""
        recipe = self.recipe
        return VerifyInputs(
            artifact=ArtifactStep(recipe, self.workspace).results(),
            trust=recipe.verify and trust_key(recipe.verify),
            day=self.workspace.now // DAY,
            sign=recipe.sign,
            verify=recipe.verify,
            recipe_file=recipe.file,
        )

    def run(self, inputs: VerifyInputs) -> Outcome[Verified]:
        """See `Step.run`."""
        from otabuild.verification.verify import verify

        if inputs.sign and inputs.verify is None:
            hint = "add `verify: {trust: [root.pem]}`"
            raise InputError(
                "the recipe does not say whom to trust", where=inputs.recipe_file, hint=hint
            )
        with self.naming_key("verify"):
            policy = trust_policy(inputs.verify) if inputs.verify and inputs.sign else None
        with self.open_built() as (image, *_):
            report = verify(
                image,
                policy,
                self.workspace.now,
                without_signature=inputs.sign is None,
                progress=partial(self.workspace.progress, self.name.replace(":", " ")),
            )
        if not report.ok:
            raise NotVerifiedError(image.path, report.findings)
        notes = [str(finding) for finding in report.findings]
        if inputs.sign is None:
            if not (inputs.verify and inputs.verify.unsigned):
                raise TrustError(_NOT_SIGNED, where=image.path, hint=_HOW_TO_SIGN)
            notes.append(_NOT_SIGNED)
            self.workspace.warn(f"{image.path}: {_NOT_SIGNED}")
        until = next_date(inputs.sign, inputs.verify, self.workspace.now)
        return Outcome(Verified(dict(report.counts)), {"notes": notes}, until=until)
