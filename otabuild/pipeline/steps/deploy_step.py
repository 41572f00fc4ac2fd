"""Deploy: writes one payload of each rootfs as a tar file, which does not require root."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from otabuild.pipeline.step import KeyPart, Outcome
from otabuild.pipeline.steps.artifact_step import ArtifactStep, Built
from otabuild.pipeline.steps.reading_step import ReadingStep
from otabuild.pipeline.trust_settings import trust_policy
from otabuild.recipe.sign import VerifyRecipe
from otabuild.storage import files


@dataclass(frozen=True)
class DeployInputs:
    """What is deployed: the artifact, and by rootfs the ECU and release key of a payload."""

    artifact: Annotated[Built, KeyPart("artifact")]
    payloads: Mapping[str, tuple[str, str]]
    verify: VerifyRecipe | None


@dataclass(frozen=True)
class DeployedTars:
    """Digests of the tar files, by rootfs."""

    tars: Mapping[str, str]


@dataclass(frozen=True)
class DeployStep(ReadingStep[DeployInputs, DeployedTars]):
    """Deploy one payload of each rootfs as a tar file."""

    kind = "deploy"
    doc = "deploy each rootfs as a tar file"
    follows = "verify"
    results_type = DeployedTars

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Step.outputs`."""
        return tuple(
            map(self.tar, dict.fromkeys(payload.rootfs for payload in self.recipe.payloads))
        )

    @property
    def targets(self) -> tuple[str, ...]:
        """See `Step.targets`."""
        return self.outputs

    def tar(self, rootfs: str) -> str:
        """Return where the tar of a rootfs is written."""
        return os.path.join(
            os.path.dirname(self.workspace.work), "deploy", self.recipe.name, f"{rootfs}.tar"
        )

    def inputs(self) -> DeployInputs:
        """See `Step.inputs`."""
        recipe = self.recipe
        first = {
            payload.rootfs: (payload.ecu, payload.release_keys[0])
            for payload in reversed(recipe.payloads)
        }
        return DeployInputs(
            artifact=ArtifactStep(recipe, self.workspace).results(),
            payloads=first,
            verify=recipe.verify if recipe.sign else None,
        )

    def run(self, inputs: DeployInputs) -> Outcome[DeployedTars]:
        """See `Step.run`."""
        from otabuild.deployment.deploy_tar import deploy_tar

        with self.naming_key("verify"):
            policy = trust_policy(inputs.verify) if inputs.verify else None
        with self.open_built() as (image, *_):
            for rootfs, payload in inputs.payloads.items():
                deploy_tar(
                    image.payload(*payload),
                    self.tar(rootfs),
                    policy,
                    self.workspace.now,
                    insecure_no_verify=policy is None,
                    progress=partial(self.workspace.progress, f"deploy {rootfs}"),
                )
        return Outcome(
            DeployedTars({rootfs: files.hash_file(self.tar(rootfs)) for rootfs in inputs.payloads})
        )
