"""Publish: puts the image into a store as a release."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from otabuild.errors import StateError
from otabuild.pipeline.step import KeyPart, Outcome
from otabuild.pipeline.steps.artifact_step import ArtifactStep, Built
from otabuild.pipeline.steps.built_image import beside
from otabuild.pipeline.steps.reading_step import ReadingStep
from otabuild.recipe.model import PublishRecipe
from otabuild.releases.publish import Published


@dataclass(frozen=True)
class PublishInputs:
    """What is published, and where."""

    artifact: Annotated[Built, KeyPart("artifact")]
    publish: Annotated[PublishRecipe, KeyPart("where to publish")]
    unsigned: bool
    beside: str


@dataclass(frozen=True)
class PublishStep(ReadingStep[PublishInputs, Published]):
    """Verify the image, and publish it; only what the store lacks is uploaded."""

    kind = "publish"
    follows = "build"
    results_type = Published

    @property
    def doc(self) -> str:
        """See `Step.doc`."""
        return f"publish {self._publish.name} in {self._publish.store}"

    @property
    def _publish(self) -> PublishRecipe:
        if self.recipe.publish is None:
            hint = "add `publish: {store: …, name: …}`"
            raise StateError(
                "the recipe does not say where to publish", where=self.recipe.file, hint=hint
            )
        return self.recipe.publish

    def describe(self, results: Published) -> str:
        """See `Step.describe`."""
        return results.describe()

    def inputs(self) -> PublishInputs:
        """See `Step.inputs`."""
        return PublishInputs(
            artifact=ArtifactStep(self.recipe, self.workspace).results(),
            publish=self._publish,
            beside=beside(self.recipe, self.workspace),
            unsigned=bool(self.recipe.verify and self.recipe.verify.unsigned),
        )

    def run(self, inputs: PublishInputs) -> Outcome[Published]:
        """See `Step.run`."""
        from otabuild.releases.publish_image import publish_image

        workspace, release = self.workspace, inputs.publish
        with self.naming_key(), self.open_built() as (image, proven, traffic):
            done = publish_image(
                image,
                release.store,
                release.name,
                workspace.now,
                unsigned=inputs.unsigned,
                proven=proven,
                stem=inputs.beside,
                pause=workspace.pause,
                progress=lambda what: partial(workspace.progress, f"{what} {release.name}"),
            )
            counts = {**done.to_value(), **traffic()}
        return Outcome(done, counts, again="others may have changed the store")
