"""Artifact: writes the artifact, and the image directory if the recipe requests one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Annotated, Any

import msgpack

from otabuild.assembly.assemble import ReadBlob, members
from otabuild.assembly.legacy_files import legacy_members
from otabuild.format.digest import Blob
from otabuild.format.index_jwt import NAME
from otabuild.format.legacy_jwt import CERTIFICATE_NAME
from otabuild.format.legacy_jwt import NAME as LEGACY_NAME
from otabuild.pipeline.base_release import base_blobs
from otabuild.pipeline.build_report import report_path
from otabuild.pipeline.settings import input_hashes
from otabuild.pipeline.signers import signed_outside
from otabuild.pipeline.step import KeyPart, Outcome, Step
from otabuild.pipeline.steps.index_step import Indexed, IndexStep
from otabuild.pipeline.steps.sign_step import Signed, SignStep, needs_legacy
from otabuild.pipeline.steps.store_step import StoreStep
from otabuild.pipeline.steps.tables_step import TablesStep
from otabuild.recipe.model import Recipe, SbomRecipe
from otabuild.storage import files
from otabuild.storage.beside import PROVENANCE, SBOM, VEX
from otabuild.storage.cache import Cache
from otabuild.storage.member import Member
from otabuild.storage.sink import ArtifactSink, DirectorySink


@dataclass(frozen=True)
class ArtifactInputs:
    """What the bytes of an artifact depend on, and where it goes."""

    index: Annotated[Indexed, KeyPart("index.json and blobs")]
    signature: Annotated[Signed | None, KeyPart("signature")]
    sbom: Annotated[SbomRecipe | None, KeyPart("bill of materials")]
    vex: Annotated[Mapping[str, str | None], KeyPart("VEX document")]
    provenance: Annotated[tuple[object, ...] | None, KeyPart("provenance")]
    made_of: Recipe | None
    legacy: bool
    output: str
    output_dir: str | None
    base: str | None


@dataclass(frozen=True)
class Built:
    """The SHA-256 of the artifact, as hex."""

    sha256: str


@dataclass(frozen=True)
class ArtifactStep(Step[ArtifactInputs, Built]):
    """Write the artifact, and the image directory if the recipe requests one."""

    kind = "build"
    results_type = Built

    @property
    def doc(self) -> str:
        """See `Step.doc`."""
        return f"write {self.recipe.output}"

    @property
    def sources(self) -> tuple[Step[Any, Any], ...]:
        """See `Step.sources`."""
        return tuple(step(self.recipe, self.workspace) for step in (StoreStep, TablesStep, IndexStep))

    @property
    def after(self) -> tuple[str, ...]:
        """See `Step.after`."""
        return (f"{'sign' if self.recipe.sign else 'index'}:{self.recipe.name}",)

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Step.outputs`."""
        recipe = self.recipe
        beside = [f"{recipe.output}{SBOM}"] if recipe.sbom else []
        beside += [f"{recipe.output}{VEX}"] if recipe.sbom and recipe.sbom.vex else []
        beside += [f"{recipe.output}{PROVENANCE}"] if recipe.provenance and not signed_outside(recipe) else []
        return (recipe.output, *([recipe.output_dir] if recipe.output_dir else []), *beside)

    @property
    def targets(self) -> tuple[str, ...]:
        """See `Step.targets`."""
        return self.outputs

    @property
    def clean(self) -> tuple[str, ...]:
        """See `Step.clean`."""
        return (report_path(self.recipe.output),)

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
            legacy=needs_legacy(recipe),
            output=recipe.output,
            output_dir=recipe.output_dir,
            base=recipe.storage.base,
        )

    def _watched(self) -> tuple[object, ...]:
        """Return what a provenance depends on besides the image."""
        from otabuild.pipeline.builder import BUILDER
        from otabuild.pipeline.provenance import watched

        return watched(self.recipe, self.workspace.environ.get(BUILDER, ""))

    def run(self, inputs: ArtifactInputs) -> Outcome[Built]:
        """See `Step.run`."""
        workspace = self.workspace
        index = files.read_file(self.path("index.json"))
        token = files.read_file(self.path(NAME)) if inputs.signature else None
        blobs = [Blob(*blob) for blob in msgpack.unpackb(files.read_file(self.path("blobs")))]
        with workspace.open_cache() as cache, ExitStack() as stack:
            of_base = None
            if inputs.base and not all(map(cache.has, blobs)):
                of_base = stack.enter_context(self._open_base(inputs.base))
            everything = members(index, token, blobs, cache, self._legacy(cache) if inputs.legacy else [], of_base)
            total = sum(member.size for member in everything)
            progress = workspace.environment(cache, self.name.replace("build:", "write "), total).progress
            if inputs.output_dir:
                DirectorySink(inputs.output_dir).write(everything, workers=workspace.workers, progress=progress)
            cache.mark_used([Blob(m.digest, m.size) for m in everything if m.digest], workspace.now_ns)
            sha256 = ArtifactSink(inputs.output).write(everything, workers=workspace.workers, progress=progress)
        counts = {"artifact-bytes": os.path.getsize(inputs.output)}
        return Outcome(Built(sha256), {**counts, **self._documents(inputs)})

    def _documents(self, inputs: ArtifactInputs) -> dict[str, list[str]]:
        """Write the documents beside the artifact; return notes about them for the build report."""
        if inputs.sbom is None and inputs.made_of is None:
            return {}
        from otabuild.pipeline.steps.beside_artifact import write_provenance, write_sbom, write_vex

        notes = write_sbom(inputs.output, inputs.sbom) if inputs.sbom else []
        with self.naming_key("sbom", "vex"):
            for path in inputs.vex:
                write_vex(inputs.output, path)
        notes += write_provenance(inputs.made_of, self.workspace) if inputs.made_of else []
        for note in notes:
            self.workspace.warn(f"{inputs.output}: {note}")
        return {"notes": notes}

    def _open_base(self, place: str) -> AbstractContextManager[ReadBlob]:
        return base_blobs(self.recipe, place)

    def _legacy(self, cache: Cache) -> list[Member]:
        """Return the files for legacy clients."""
        release = msgpack.unpackb(files.read_file(self.path("release")))
        certificate_pem, token = (files.read_file(self.path(name)) for name in (CERTIFICATE_NAME, LEGACY_NAME))
        return legacy_members({name: Blob(*blob) for name, blob in release.items()}, certificate_pem, token, cache)
