"""Artifact: writes the artifact, the image directory, and the documents about the image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any

from otabuild.format.digest import Blob
from otabuild.pipeline.build_report import report_path
from otabuild.pipeline.settings import input_hashes
from otabuild.pipeline.signers import signed_outside
from otabuild.pipeline.step import KeyPart, Outcome, Step
from otabuild.pipeline.steps.built_image import (
    BuiltFiles,
    BuiltImage,
    beside,
    built_files,
    open_built,
)
from otabuild.pipeline.steps.index_step import Indexed, IndexStep
from otabuild.pipeline.steps.preflight_step import PreflightStep
from otabuild.pipeline.steps.sign_step import Signed, SignStep
from otabuild.pipeline.steps.store_step import StoreStep
from otabuild.pipeline.steps.tables_step import TablesStep
from otabuild.recipe.model import Recipe, SbomRecipe
from otabuild.storage.beside import PROVENANCE, SBOM, VEX
from otabuild.storage.cache import Cache
from otabuild.storage.sink import ArtifactSink, DirectorySink, Sink


@dataclass(frozen=True)
class ArtifactInputs:
    """What the bytes of an artifact depend on, and where it goes."""

    index: Annotated[Indexed, KeyPart("index.json and blobs")]
    signature: Annotated[Signed | None, KeyPart("signature")]
    sbom: Annotated[SbomRecipe | None, KeyPart("bill of materials")]
    vex: Annotated[Mapping[str, str | None], KeyPart("VEX document")]
    provenance: Annotated[tuple[object, ...] | None, KeyPart("provenance")]
    made_of: Recipe | None
    beside: str
    output: str | None
    output_dir: str | None


@dataclass(frozen=True)
class Built:
    """Digests (hex) of what was built: the artifact, if there is one, index.json, its signature."""

    sha256: str | None
    index_json: str
    signature: Signed | None


@dataclass(frozen=True)
class ArtifactStep(Step[ArtifactInputs, Built]):
    """Write the artifact, the image directory and their documents, as the recipe requests."""

    kind = "build"
    results_type = Built

    @property
    def doc(self) -> str:
        """See `Step.doc`."""
        return f"write {self.recipe.output}" if self.recipe.output else "prepare what is published"

    @property
    def sources(self) -> tuple[Step[Any, Any], ...]:
        """See `Step.sources`."""
        return tuple(
            step(self.recipe, self.workspace) for step in (StoreStep, TablesStep, IndexStep)
        )

    @property
    def after(self) -> tuple[str, ...]:
        """See `Step.after`."""
        return (f"{'sign' if self.recipe.sign else 'index'}:{self.recipe.name}",)

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Step.outputs`."""
        recipe = self.recipe
        documents = [SBOM] if recipe.sbom else []
        documents += [VEX] if recipe.sbom and recipe.sbom.vex else []
        documents += [PROVENANCE] if recipe.provenance and not signed_outside(recipe) else []
        stem = beside(recipe, self.workspace)
        return (
            *filter(None, [recipe.output, recipe.output_dir]),
            *(f"{stem}{suffix}" for suffix in documents),
        )

    @property
    def targets(self) -> tuple[str, ...]:
        """See `Step.targets`."""
        return self.outputs

    @property
    def clean(self) -> tuple[str, ...]:
        """See `Step.clean`."""
        return (report_path(beside(self.recipe, self.workspace)),)

    def inputs(self) -> ArtifactInputs:
        """See `Step.inputs`."""
        recipe = self.recipe
        return ArtifactInputs(
            index=IndexStep(recipe, self.workspace).results(),
            signature=SignStep(recipe, self.workspace).results() if recipe.sign else None,
            sbom=recipe.sbom,
            vex=input_hashes([recipe.sbom.vex] if recipe.sbom and recipe.sbom.vex else []),
            provenance=self._watched() if recipe.provenance else None,
            made_of=recipe if recipe.provenance else None,
            beside=beside(recipe, self.workspace),
            output=recipe.output,
            output_dir=recipe.output_dir,
        )

    def _watched(self) -> tuple[object, ...]:
        """Return what a provenance depends on besides the image: bases may give equal images."""
        from otabuild.pipeline.builder import BUILDER
        from otabuild.pipeline.provenance import watched

        base = PreflightStep(self.recipe, self.workspace).results().base
        return *watched(self.recipe, self.workspace.environ.get(BUILDER, "")), base

    def run(self, inputs: ArtifactInputs) -> Outcome[Built]:
        """See `Step.run`."""
        workspace, sha256 = self.workspace, None
        with workspace.open_cache() as cache, self._built_files(cache) as (everything, _, traffic):
            sinks: list[Sink] = [DirectorySink(inputs.output_dir)] if inputs.output_dir else []
            sinks += [ArtifactSink(inputs.output)] if inputs.output else []
            total = sum(member.size for member in everything) * len(sinks)
            progress = workspace.environment(
                cache, self.name.replace("build:", "write "), total
            ).progress
            cache.mark_used(
                [Blob(m.digest, m.size) for m in everything if m.digest], workspace.now_ns
            )
            for sink in sinks:
                sha256 = sink.write(everything, workers=workspace.workers, progress=progress)
            counts = dict(traffic())
        if inputs.output:
            counts["artifact-bytes"] = os.path.getsize(inputs.output)
        return Outcome(
            Built(sha256, inputs.index.index_json, inputs.signature),
            {**counts, **self._documents(inputs)},
        )

    # This and the next are apart from `run`, which sees the inputs and not the recipe (0013).
    def _open_built(self) -> AbstractContextManager[BuiltImage]:
        return open_built(self.recipe, self.workspace)

    def _built_files(self, cache: Cache) -> AbstractContextManager[BuiltFiles]:
        return built_files(self.recipe, self.workspace, cache)

    def _documents(self, inputs: ArtifactInputs) -> dict[str, list[str]]:
        """Write the documents beside the artifact; return notes about them for the build report."""
        if inputs.sbom is None and inputs.made_of is None:
            return {}
        from otabuild.pipeline.steps.beside_artifact import write_provenance, write_sbom, write_vex

        notes = write_sbom(self._open_built(), inputs.beside, inputs.sbom) if inputs.sbom else []
        with self.naming_key("sbom", "vex"):
            for path in inputs.vex:
                write_vex(inputs.beside, path)
        notes += write_provenance(inputs.made_of, self.workspace) if inputs.made_of else []
        for note in notes:
            self.workspace.warn(f"{inputs.beside}: {note}")
        return {"notes": notes}
