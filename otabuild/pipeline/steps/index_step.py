"""Index: writes configs, manifests and index.json."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Annotated

import msgpack

from otabuild.assembly import documents
from otabuild.assembly.assemble import add_otaclient_package, add_sys_config
from otabuild.assembly.documents import PayloadSpec
from otabuild.format import annotations as ann
from otabuild.format.digest import Blob, Descriptor
from otabuild.format.media_types import FILE_TABLE_ZSTD, IMAGE_CONFIG, RESOURCE_TABLE_ZSTD
from otabuild.format.otaclient import RELEASE_MANIFEST
from otabuild.pipeline.blob_list import read_blobs, write_blobs
from otabuild.pipeline.rootfs_system import System
from otabuild.pipeline.settings import input_hashes, release_states
from otabuild.pipeline.step import KeyPart, Outcome, Step
from otabuild.pipeline.steps.scan_step import ScanStep
from otabuild.pipeline.steps.tables_step import Tables, TablesStep
from otabuild.recipe.model import OtaclientRecipe, PayloadRecipe, RootfsRecipe
from otabuild.storage import files
from otabuild.storage.cache import Cache


@dataclass(frozen=True)
class IndexInputs:
    """What the documents of an image depend on."""

    tables: Annotated[Tables, KeyPart("tables")]
    systems: Annotated[Mapping[str, System], KeyPart("what the rootfs say of themselves")]
    payloads: Annotated[tuple[PayloadRecipe, ...], KeyPart("payloads")]
    rootfs: Annotated[Mapping[str, RootfsDescription], KeyPart("rootfs descriptions")]
    annotations: Annotated[Mapping[str, str], KeyPart("annotations")]
    timestamp: Annotated[int, KeyPart("timestamp")]
    signed: Annotated[bool, KeyPart("signed or not")]
    otaclient: Annotated[
        tuple[OtaclientRecipe, Mapping[str, list[int] | None]] | None, KeyPart("otaclient package")
    ]
    small_files: Annotated[Mapping[str, str | None], KeyPart("sys_config and release files")]


@dataclass(frozen=True)
class RootfsDescription:
    """What a recipe says of a rootfs in the documents.

    `os` and `os_version` None: what the rootfs states itself.
    """

    base_image: str
    architecture: str
    os: str | None
    os_version: str | None

    @classmethod
    def of(cls, rootfs: RootfsRecipe) -> RootfsDescription:
        """Return the description in a recipe."""
        return cls(rootfs.base_image, rootfs.architecture, rootfs.os.name, rootfs.os.version)


@dataclass(frozen=True)
class Indexed:
    """Digests of index.json, and of the list of the blobs of the image."""

    index_json: str
    blobs: str


@dataclass(frozen=True)
class IndexStep(Step[IndexInputs, Indexed]):
    """Write configs, manifests and index.json."""

    kind = "index"
    doc = "write configs, manifests and index.json"
    follows = "tables"
    results_type = Indexed

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Step.outputs`."""
        names = ["index.json", "blobs", *(["release"] if self.recipe.otaclient_package else [])]
        return tuple(map(self.path, names))

    def naming(self) -> AbstractContextManager[None]:
        """See `Step.naming`."""
        return self.naming_key()

    def inputs(self) -> IndexInputs:
        """See `Step.inputs`."""
        recipe, package = self.recipe, self.recipe.otaclient_package
        small = [path for payload in recipe.payloads if (path := payload.sys_config)]
        if package:
            small.append(os.path.join(package.release_dir, RELEASE_MANIFEST))
        return IndexInputs(
            tables=TablesStep(recipe, self.workspace).results(),
            systems={
                name: ScanStep(recipe, self.workspace, name).results().system
                for name in recipe.rootfs
            },
            payloads=tuple(recipe.payloads),
            rootfs={name: RootfsDescription.of(rootfs) for name, rootfs in recipe.rootfs.items()},
            annotations=recipe.index_annotations,
            timestamp=recipe.timestamp,
            signed=recipe.sign is not None,
            otaclient=(package, release_states(package)) if package else None,
            small_files=input_hashes(small),
        )

    def run(self, inputs: IndexInputs) -> Outcome[Indexed]:
        """See `Step.run`."""
        index_file, blobs_file, *_ = self.outputs
        with self.workspace.open_cache() as cache:
            manifests, blobs = _payloads(inputs, cache)
            if inputs.otaclient:
                package, _ = inputs.otaclient
                stored = add_otaclient_package(package.release_dir, cache, legacy=package.legacy)
                manifests.append(stored.descriptor)
                blobs += stored.blobs
                files.write_file(self.path("release"), bytes(msgpack.packb(stored.folder)))
        resource_table = inputs.tables.resource_table.blob
        manifests.append(Descriptor.make(RESOURCE_TABLE_ZSTD, *resource_table))
        blobs = sorted({resource_table, *blobs, *read_blobs(self.path("leaves"))})
        index = documents.index(
            manifests,
            inputs.annotations,
            blobs,
            created_at=inputs.timestamp,
            signed_at=inputs.timestamp if inputs.signed else None,
        )
        files.write_file(index_file, index.to_json())
        write_blobs(blobs_file, blobs)
        return Outcome(Indexed(files.hash_file(index_file), files.hash_file(blobs_file)))


def _payloads(inputs: IndexInputs, cache: Cache) -> tuple[list[Descriptor], list[Blob]]:
    """Return the descriptors of all payloads in recipe order, and the blobs that they name."""
    manifests: list[Descriptor] = []
    blobs: list[Blob] = []
    for payload in inputs.payloads:
        sys_config = add_sys_config(payload.sys_config, cache) if payload.sys_config else None
        for spec in _specs(inputs, payload, sys_config):
            config = documents.image_config(spec, inputs.timestamp).to_json()
            manifest = documents.manifest(spec, Descriptor.of(config, IMAGE_CONFIG)).to_json()
            manifests.append(documents.payload_descriptor(spec, manifest))
            named = [spec.file_table, *([sys_config] if sys_config else [])]
            blobs += [
                cache.add(config),
                cache.add(manifest),
                *(Blob(found.digest, found.size) for found in named),
            ]
    return manifests, blobs


def _specs(
    inputs: IndexInputs, payload: PayloadRecipe, sys_config: Descriptor | None
) -> Iterator[PayloadSpec]:
    """Yield the data for the documents of a payload, for each of its release keys."""
    rootfs, system = inputs.rootfs[payload.rootfs], inputs.systems[payload.rootfs]
    table = inputs.tables.file_tables[payload.rootfs]
    spec = PayloadSpec(
        ecu=payload.ecu,
        release_key="",
        architecture=rootfs.architecture,
        base_image=rootfs.base_image,
        labels=table.labels,
        file_table=Descriptor.make(FILE_TABLE_ZSTD, *table.blob),
        sys_config=sys_config,
        description=payload.description,
        os_name=rootfs.os or system.os,
        os_version=rootfs.os_version or system.os_version,
        bsp_version=system.bsp_version,
        platform=inputs.annotations.get(ann.PLATFORM),
        hardware_model=payload.hardware.model,
        hardware_series=payload.hardware.series,
    )
    for release_key in payload.release_keys:
        yield replace(spec, release_key=release_key)
