"""The steps around the contents: preflight before them; documents, signature and artifact behind them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import msgpack

from otabuild.build import documents
from otabuild.build.assemble import add_otaclient_package, add_sys_config, members, write_directory
from otabuild.build.documents import PayloadSpec
from otabuild.errors import InputError, RecipeError, StateError
from otabuild.format import annotations as ann
from otabuild.format.digest import Descriptor
from otabuild.format.media_types import FILE_TABLE_ZSTD, IMAGE_CONFIG, RESOURCE_TABLE_ZSTD
from otabuild.format.otaclient import RELEASE_MANIFEST
from otabuild.pipeline.content_steps import read_leaves, store_step, tables_step
from otabuild.pipeline.job import Job
from otabuild.pipeline.report import report_path
from otabuild.pipeline.signers import make_signer
from otabuild.pipeline.step import Key, Outcome, Step
from otabuild.recipe.inputs import missing_inputs
from otabuild.recipe.model import PayloadRecipe
from otabuild.recipe.signing import Sign
from otabuild.signing.certificates import Certificate
from otabuild.signing.chain import load_chain
from otabuild.signing.preflight import preflight
from otabuild.signing.signer import sign_index
from otabuild.storage import files
from otabuild.storage.cache import Blob, Cache
from otabuild.storage.member import DamagedBlobError
from otabuild.storage.zip_writer import write_artifact

_DAY = 86_400


def preflight_step(job: Job) -> Step:
    """Everything that can be known to be wrong before any work is done."""
    recipe = job.recipe

    def run() -> Outcome:
        if missing := missing_inputs(recipe):
            raise RecipeError(missing)
        warnings = _preflight(job) if recipe.sign else []
        if recipe.timestamp > job.workspace.now:
            raise InputError(
                "the timestamp lies in the future: clients would refuse the image",
                where="timestamp",
                observed=recipe.timestamp,
                expected=f"at most {job.workspace.now}",
                hint="set `timestamp` or SOURCE_DATE_EPOCH to a time that has passed, or correct this machine's clock",
            )
        for warning in warnings:
            job.workspace.warn(warning)
        return Outcome({}, {"warnings": warnings})

    def key() -> Key:
        small = [path for payload in recipe.payloads if (path := payload.sys_config)]
        return {
            "certificates and key": _hashes(_sign_files(recipe.sign)) if recipe.sign else None,
            "timestamp": recipe.timestamp,
            "today's date": job.workspace.now // _DAY,
            "sys_config files": _hashes(small),
        }

    return job.step("preflight", doc="check key, certificates and dates", after=(), key=key, run=run)


def _sign_files(sign: Sign) -> list[str]:
    key_file = getattr(sign.key, "file", None)
    return [sign.certificate, *sign.chain, *([key_file] if key_file else [])]


def _preflight(job: Job) -> list[str]:
    sign = job.recipe.sign
    assert sign is not None
    signer = make_signer(sign, job.workspace)
    return preflight(_chain(sign), signer.public_key if signer else None, job.recipe.timestamp, job.workspace.now)


def _chain(sign: Sign) -> tuple[Certificate, ...]:
    return load_chain(sign.certificate, sign.chain)


def _hashes(paths: list[str]) -> dict[str, str | None]:
    return {path: files.hash_file(path) if os.path.isfile(path) else None for path in paths}


def index_step(job: Job) -> Step:
    """Write configs, manifests and index.json."""
    recipe = job.recipe
    index_file, blobs_file = job.path("index.json"), job.path("blobs")
    small = [path for payload in recipe.payloads if (path := payload.sys_config)]
    if recipe.otaclient_package:
        small.append(os.path.join(recipe.otaclient_package.release_dir, RELEASE_MANIFEST))

    def run() -> Outcome:
        with job.workspace.open_cache() as cache:
            manifests, blobs = _payloads(job, cache)
            if recipe.otaclient_package:
                package, package_blobs = add_otaclient_package(recipe.otaclient_package.release_dir, cache)
                manifests.append(package)
                blobs += package_blobs
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
            "otaclient package": package and package.model_dump(mode="json"),
            "sys_config and release files": _hashes(small),
        }

    return job.step(
        "index",
        doc="write configs, manifests and index.json",
        after=(job.name("tables"),),
        key=key,
        outputs=(index_file, blobs_file),
        run=run,
    )


def _payloads(job: Job, cache: Cache) -> tuple[list[Descriptor], list[Blob]]:
    """Descriptors of all payloads in the order of the recipe, and the blobs that they name."""
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
    """What the documents of a payload say, for each of its release keys."""
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


def sign_step(job: Job) -> Step:
    """Sign index.json."""
    sign, token_file = job.recipe.sign, job.path("index.jwt")
    assert sign is not None

    def run() -> Outcome:
        _preflight(job)
        signer = make_signer(sign, job.workspace)
        if signer is None:
            raise StateError(
                "the signature is made outside",
                where=job.path("index.json"),
                hint="write a request with `otabuild sign-prepare`, take the answer with `otabuild sign-finish`",
            )
        index = files.read_file(job.path("index.json"))
        files.write_file(token_file, sign_index(index, job.recipe.timestamp, _chain(sign), signer))
        return Outcome({"index.jwt": files.hash_file(token_file)}, {})

    def key() -> Key:
        return {
            "index.json": job.results("index")["index.json"],
            "certificates": _hashes([sign.certificate, *sign.chain]),
            "where the key is": sign.key if isinstance(sign.key, str) else sign.key.model_dump(mode="json"),
        }

    return job.step("sign", doc="sign index.json", after=(job.name("index"),), key=key, outputs=(token_file,), run=run)


def build_step(job: Job) -> Step:
    """Write the artifact, and the image directory where the recipe wants one."""
    recipe = job.recipe

    def run() -> Outcome:
        try:
            sha256 = _publish(job)
        except DamagedBlobError as damaged:  # what made it is run again; a cache is there to be lost
            job.workspace.warn(f"{damaged}")
            with job.workspace.open_cache() as cache:
                cache.discard(damaged.digest)
            for step in (store_step(job), tables_step(job), index_step(job)):
                step.execute()
            sha256 = _publish(job)
        return Outcome({"sha256": sha256}, {"artifact bytes": os.path.getsize(recipe.output)})

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
        everything = members(index, token, blobs, cache)
        total = sum(member.size for member in everything)
        environment = job.workspace.environment(cache, f"write {recipe.name}", total)
        if recipe.output_dir:
            write_directory(recipe.output_dir, everything, progress=environment.progress)
        return write_artifact(recipe.output, everything, workers=job.workspace.workers, progress=environment.progress)
