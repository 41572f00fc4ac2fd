"""The steps after the contents: documents and artifact."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import msgpack

from otabuild.assembly import documents
from otabuild.assembly.assemble import add_otaclient_package, add_sys_config, members
from otabuild.assembly.documents import PayloadSpec
from otabuild.assembly.legacy_files import legacy_members
from otabuild.format import annotations as ann
from otabuild.format.digest import Blob, Descriptor
from otabuild.format.legacy_jwt import CERTIFICATE_NAME
from otabuild.format.legacy_jwt import NAME as LEGACY_NAME
from otabuild.format.media_types import FILE_TABLE_ZSTD, IMAGE_CONFIG, RESOURCE_TABLE_ZSTD
from otabuild.format.otaclient import RELEASE_MANIFEST
from otabuild.pipeline.build_report import report_path
from otabuild.pipeline.job import Job
from otabuild.pipeline.settings import input_hashes, release_states
from otabuild.pipeline.step import Key, Outcome, Step
from otabuild.pipeline.steps.content_steps import read_leaves, store_step, tables_step
from otabuild.pipeline.steps.sign_steps import needs_legacy
from otabuild.recipe.model import PayloadRecipe
from otabuild.storage import files
from otabuild.storage.cache import Cache
from otabuild.storage.member import DamagedBlobError, Member
from otabuild.storage.sink import ArtifactSink, DirectorySink


def index_step(job: Job) -> Step:
    """Write configs, manifests and index.json."""
    recipe = job.recipe
    index_file, blobs_file, release_file = job.path("index.json"), job.path("blobs"), job.path("release")
    small = [path for payload in recipe.payloads if (path := payload.sys_config)]
    if recipe.otaclient_package:
        small.append(os.path.join(recipe.otaclient_package.release_dir, RELEASE_MANIFEST))

    def run() -> Outcome:
        with job.workspace.open_cache() as cache:
            manifests, blobs = _payloads(job, cache)
            if recipe.otaclient_package:
                package = recipe.otaclient_package
                stored = add_otaclient_package(package.release_dir, cache, legacy=package.legacy)
                manifests.append(stored.descriptor)
                blobs += stored.blobs
                files.write_file(release_file, bytes(msgpack.packb(stored.folder)))
        table = job.results("tables")["resource table"]
        resource_table = Blob(bytes.fromhex(table["digest"]), table["size"])
        manifests.append(Descriptor.make(RESOURCE_TABLE_ZSTD, *resource_table))
        blobs = sorted({resource_table, *blobs, *read_leaves(job)})
        index = documents.index(
            manifests,
            recipe.index_annotations,
            blobs,
            created_at=recipe.timestamp,
            signed_at=recipe.timestamp if recipe.sign else None,
        )
        files.write_file(index_file, index.to_json())
        files.write_file(blobs_file, bytes(msgpack.packb(blobs)))
        return Outcome({"index.json": files.hash_file(index_file), "blobs": files.hash_file(blobs_file)}, {})

    def key() -> Key:
        package = recipe.otaclient_package
        return {
            "tables": job.results("tables"),
            "what the rootfs say of themselves": [job.results("scan", name)["system"] for name in recipe.rootfs],
            "payloads": [payload.model_dump(mode="json") for payload in recipe.payloads],
            "rootfs descriptions": [
                [rootfs.base_image, rootfs.architecture, rootfs.os.model_dump()] for rootfs in recipe.rootfs.values()
            ],
            "annotations": recipe.index_annotations,
            "timestamp": recipe.timestamp,
            "signed or not": recipe.sign is not None,
            "otaclient package": package and [package.model_dump(mode="json"), release_states(package)],
            "sys_config and release files": input_hashes(small),
        }

    return job.step(
        "index",
        doc="write configs, manifests and index.json",
        after=(job.name("tables"),),
        key=key,
        outputs=(index_file, blobs_file, *([release_file] if recipe.otaclient_package else [])),
        run=run,
    )


def _payloads(job: Job, cache: Cache) -> tuple[list[Descriptor], list[Blob]]:
    """Return the descriptors of all payloads in recipe order, and the blobs that they name."""
    manifests: list[Descriptor] = []
    blobs: list[Blob] = []
    for payload in job.recipe.payloads:
        sys_config = add_sys_config(payload.sys_config, cache) if payload.sys_config else None
        for spec in _specs(job, payload, sys_config):
            config = documents.image_config(spec, job.recipe.timestamp).to_json()
            manifest = documents.manifest(spec, Descriptor.of(config, IMAGE_CONFIG)).to_json()
            manifests.append(documents.payload_descriptor(spec, manifest))
            named = [spec.file_table, *([sys_config] if sys_config else [])]
            blobs += [cache.add(config), cache.add(manifest), *(Blob(found.digest, found.size) for found in named)]
    return manifests, blobs


def _specs(job: Job, payload: PayloadRecipe, sys_config: Descriptor | None) -> Iterator[PayloadSpec]:
    """Yield the data for the documents of a payload, for each of its release keys."""
    rootfs, found = job.recipe.rootfs[payload.rootfs], job.results("scan", payload.rootfs)["system"]
    table = job.results("tables")[f"file table {payload.rootfs}"]
    spec = PayloadSpec(
        ecu=payload.ecu,
        release_key="",
        architecture=rootfs.architecture,
        base_image=rootfs.base_image,
        labels=table["labels"],
        file_table=Descriptor.make(FILE_TABLE_ZSTD, bytes.fromhex(table["digest"]), table["size"]),
        sys_config=sys_config,
        description=payload.description,
        os_name=rootfs.os.name or found["os"],
        os_version=rootfs.os.version or found["os-version"],
        bsp_version=found["bsp-version"],
        platform=job.recipe.index_annotations.get(ann.PLATFORM),
        hardware_model=payload.hardware.model,
        hardware_series=payload.hardware.series,
    )
    for release_key in payload.release_keys:
        yield replace(spec, release_key=release_key)


def build_step(job: Job) -> Step:
    """Write the artifact, and the image directory if the recipe requests one."""
    recipe = job.recipe

    def run() -> Outcome:
        try:
            sha256 = _publish(job)
        except DamagedBlobError as damaged:  # the step that made it runs again; losing a cache is harmless
            job.workspace.warn(f"{damaged}")
            with job.workspace.open_cache() as cache:
                cache.discard_damaged()
            for step in (store_step(job), tables_step(job), index_step(job)):
                step.execute()
            sha256 = _publish(job)
        return Outcome({"sha256": sha256}, {"artifact-bytes": os.path.getsize(recipe.output)})

    outputs = (recipe.output, *([recipe.output_dir] if recipe.output_dir else []))
    last = "sign" if recipe.sign else "index"
    return job.step(
        "build",
        doc=f"write {recipe.output}",
        after=(job.name(last),),
        key=lambda: {"index.json and blobs": job.results("index"), "signature": recipe.sign and job.results("sign")},
        outputs=outputs,
        targets=outputs,
        clean=(report_path(recipe.output),),
        run=run,
    )


def _publish(job: Job) -> str:
    recipe = job.recipe
    index = files.read_file(job.path("index.json"))
    token = files.read_file(job.path("index.jwt")) if recipe.sign else None
    blobs = [Blob(*blob) for blob in msgpack.unpackb(files.read_file(job.path("blobs")))]
    with job.workspace.open_cache() as cache:
        everything = members(index, token, blobs, cache, _legacy(job, cache))
        total = sum(member.size for member in everything)
        environment = job.workspace.environment(cache, f"write {recipe.name}", total)
        workers = job.workspace.workers
        if recipe.output_dir:
            DirectorySink(recipe.output_dir).write(everything, workers=workers, progress=environment.progress)
        cache.mark_used([Blob(m.digest, m.size) for m in everything if m.digest], job.workspace.now_ns)
        return ArtifactSink(recipe.output).write(everything, workers=workers, progress=environment.progress)


def _legacy(job: Job, cache: Cache) -> list[Member]:
    """Return the files for legacy clients if the recipe requests them."""
    if not needs_legacy(job):
        return []
    folder = {name: Blob(*blob) for name, blob in msgpack.unpackb(files.read_file(job.path("release"))).items()}
    certificate_pem, token = (files.read_file(job.path(name)) for name in (CERTIFICATE_NAME, LEGACY_NAME))
    return legacy_members(folder, certificate_pem, token, cache)
