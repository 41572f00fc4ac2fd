"""The preflight: checks everything that can be checked before any work is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NamedTuple

from otabuild.errors import Finding, RecipeError
from otabuild.format.times import DAY
from otabuild.pipeline.base_release import KEYS, BaseState, base_state, check_base
from otabuild.pipeline.builder import BUILDER, check_builder
from otabuild.pipeline.own_steps import has_input_step
from otabuild.pipeline.settings import input_hashes
from otabuild.pipeline.signers import key_state, make_signer
from otabuild.pipeline.step import KeyPart, Outcome, Step
from otabuild.pipeline.trust_settings import next_date, trust_key, trust_policy
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.model import PublishRecipe, SbomRecipe
from otabuild.recipe.named_files import bad_release, bad_sys_configs, missing_inputs
from otabuild.recipe.sign import Sign, VerifyRecipe
from otabuild.recipe.surroundings import bad_surroundings
from otabuild.sbom.libraries import check_libraries
from otabuild.signing.certificates import Certificate
from otabuild.signing.chain import load_chain
from otabuild.signing.preflight import preflight
from otabuild.signing.signer import Signer
from otabuild.storage.files import read_file
from otabuild.stores.open_store import open_store


@dataclass(frozen=True)
class PreflightInputs:
    """What the preflight depends on."""

    signing: Annotated[tuple[object, ...] | None, KeyPart("certificates and key")]
    trust: Annotated[object, KeyPart("whom to trust")]
    timestamp: Annotated[int, KeyPart("timestamp")]
    day: Annotated[int, KeyPart("today's date")]
    sys_configs: Annotated[Mapping[str, str | None], KeyPart("sys_config files")]
    wrong: Annotated[tuple[str, ...], KeyPart("what is missing or in the way")]
    problems: tuple[Finding, ...]
    sbom: Annotated[SbomRecipe | None, KeyPart("bill of materials")]
    builder: Annotated[str | None, KeyPart("who builds")]
    base: Annotated[tuple[str | None, BaseState], KeyPart("base")]
    publish: Annotated[PublishRecipe | None, KeyPart("where to publish")]
    sign: Sign | None
    verify: VerifyRecipe | None


@dataclass(frozen=True)
class Checked:
    """What shows that the base is the one that was checked."""

    base: BaseState


@dataclass(frozen=True)
class PreflightStep(Step[PreflightInputs, Checked]):
    """Check everything that can be checked before any work is done."""

    kind = "preflight"
    doc = "check key, certificates and dates"
    results_type = Checked
    asks = True

    def inputs(self) -> PreflightInputs:
        """See `Step.inputs`."""
        recipe, workspace = self.recipe, self.workspace
        surroundings = bad_surroundings(recipe, workspace.now, partial(has_input_step, recipe.name))
        problems = (
            *missing_inputs(recipe),
            *bad_sys_configs(recipe),
            *bad_release(recipe),
            *surroundings,
        )
        return PreflightInputs(
            signing=_signing(recipe.sign, workspace) if recipe.sign else None,
            trust=recipe.verify and trust_key(recipe.verify),
            timestamp=recipe.timestamp,
            day=workspace.now // DAY,
            sys_configs=input_hashes(
                path for payload in recipe.payloads if (path := payload.sys_config)
            ),
            wrong=tuple(problem.message for problem in problems),
            problems=problems,
            sbom=recipe.sbom,
            builder=self.workspace.environ.get(BUILDER, "") if recipe.provenance else None,
            base=(recipe.storage.base, base_state(recipe)),
            publish=recipe.publish,
            sign=recipe.sign,
            verify=recipe.verify,
        )

    def run(self, inputs: PreflightInputs) -> Outcome[Checked]:
        """See `Step.run`."""
        if inputs.problems:
            raise RecipeError(inputs.problems)
        if inputs.sbom:
            check_libraries()
            self._check_vex(inputs.sbom)
        if inputs.builder is not None:
            check_builder(inputs.builder)
        place, state = inputs.base
        if place is not None:
            with self.naming_key(*KEYS):
                check_base(place)
        if inputs.publish is not None:
            with self.naming_key("publish", "store"):
                # Asks nothing of it: who builds need not be able to publish.
                open_store(inputs.publish.store).close()
        warnings: list[str] = []
        if inputs.sign is not None:
            warnings = check_signing(
                inputs.sign, inputs.verify, inputs.timestamp, self.workspace, self.naming_key
            ).warnings
        for warning in warnings:
            self.workspace.warn(warning)
        with self.naming_key():
            until = next_date(inputs.sign, inputs.verify, self.workspace.now)
        return Outcome(Checked(state), {"warnings": warnings}, until=until)

    def _check_vex(self, sbom: SbomRecipe) -> None:
        """Check the form of the VEX document; what it is about is checked beside the image."""
        from otabuild.sbom.vex import LIMIT, read_vex

        with self.naming_key("sbom", "vex"):
            if sbom.vex:
                read_vex(read_file(sbom.vex, LIMIT), sbom.vex)


def _signing(sign: Sign, workspace: Workspace) -> tuple[object, ...]:
    """Return what the preflight of a signature depends on.

    Of a key that is only a digest, of a passphrase nothing at all.
    """
    return sign, input_hashes([sign.certificate, *sign.chain]), key_state(sign, workspace)


class CheckedSigning(NamedTuple):
    """The means to sign, checked: warnings, the chain, and the signer unless there is none here."""

    warnings: list[str]
    chain: tuple[Certificate, ...]
    signer: Signer | None


def check_signing(
    sign: Sign,
    verify: VerifyRecipe | None,
    timestamp: int,
    workspace: Workspace,
    naming: Callable[..., AbstractContextManager[None]],
) -> CheckedSigning:
    """Check certificates, key and dates for the signature of a recipe, at the time of its build.

    Args:
        sign: how the recipe signs.
        verify: whom it trusts.
        timestamp: its time, Unix seconds.
        workspace: the surroundings.
        naming: `Step.naming_key` of the recipe.

    Raises:
        OtabuildError: clients, or those whom the recipe trusts, would not accept the signature.
    """
    with naming():
        chain = load_chain(sign.certificate, sign.chain)
    with naming("verify"):
        policy = trust_policy(verify) if verify else None
    with naming("sign", "key"):
        signer = make_signer(sign, workspace)
        public_key = signer.public_key if signer else None
    with naming():
        warnings = preflight(chain, public_key, timestamp, workspace.now, policy=policy)
    return CheckedSigning(warnings, chain, signer)
