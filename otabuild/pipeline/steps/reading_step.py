"""What the steps that read the built image have in common."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from otabuild.pipeline.step import I, R, Step
from otabuild.pipeline.steps.artifact_step import ArtifactStep
from otabuild.pipeline.steps.built_image import BuiltImage, open_built


class ReadingStep(Step[I, R]):
    """A step that reads the built image: the artifact, or else its files in the work directory."""

    @property
    def sources(self) -> tuple[Step[Any, Any], ...]:
        """See `Step.sources`; nothing makes a damaged artifact again but a build."""
        return () if self.recipe.output else ArtifactStep(self.recipe, self.workspace).sources

    def open_built(self) -> AbstractContextManager[BuiltImage]:
        """Open the image; errors as for `open_built`."""
        return open_built(self.recipe, self.workspace)
