"""Selects the manifest and the layers of an image in an OCI layout."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from otabuild.errors import InputError
from otabuild.format.architectures import architecture_name, is_other_architecture
from otabuild.rootfs.container_files import Files, MissingFileError, field, read_document
from otabuild.rootfs.layers import Layer

_INDEXES = (  # not a set: what is looked up may be any JSON value, also one without a hash
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = {
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
}
_LAYERS = {
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
}
"""Non-distributable layers are usually stored elsewhere, but a layout may contain them, and the
digest is the same."""
_REF_NAME = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"
_DIGEST = re.compile("sha256:([0-9a-f]{64})")
_NESTED_MAX = 4
_REFERENCE_TYPE = "vnd.docker.reference.type"
"""An annotation of the attestations that buildx adds to an index beside the images."""


def oci_layers(
    files: Files, reference: str | None, platform: str | None, architecture: str | None
) -> list[Layer]:
    """Return the layers of an image, the lowest first.

    Args:
        files: the layout.
        reference: a tag or a digest (`sha256:…`); None if the layout contains only one image.
        platform: which image of a multi-platform index, such as `linux/arm64`.
        architecture: the architecture that the image must have, or None.

    Raises:
        InputError: the layout is damaged, or does not contain exactly one such image.
    """
    try:
        layout = read_document(files, "oci-layout")
    except MissingFileError:
        hint = (
            "`skopeo copy docker://NAME oci:FOLDER:TAG` writes one; a root file system is `source: "
            "{directory: …}`"
        )
        raise InputError("not an OCI layout: no oci-layout", where=files.where, hint=hint) from None
    if field(layout, "imageLayoutVersion", str, files.where) != "1.0.0":
        raise InputError("the OCI layout has an unknown version", where=files.where)
    found = field(read_document(files, "index.json"), "manifests", list, files.where)
    platform = platform and _canonical(platform)
    if reference is not None:
        found = _named(files, found, reference)
    for _level in range(_NESTED_MAX):
        chosen = _one(found, platform, reference, files.where)
        media_type = field(chosen, "mediaType", str, files.where)
        document = _blob(files, chosen)
        if media_type in _MANIFESTS:
            return _layers(files, document, platform, architecture)
        if media_type not in _INDEXES:
            raise InputError(
                "the image is of an unknown media type",
                where=files.where,
                observed=f"{media_type:.100}",
            )
        found = field(document, "manifests", list, files.where)
    raise InputError("the indexes of the image are nested too deeply", where=files.where)


def image_layers(
    files: Files, config: Any, digests: list[tuple[str, str]], architecture: str | None
) -> list[Layer]:
    """Make layers from the image config and (hex digest, file name) of each.

    `architecture` is the expected one.
    """
    found = config.get("architecture") if isinstance(config, dict) else None
    if architecture and isinstance(found, str) and is_other_architecture(found, architecture):
        raise InputError(
            "the image is for a different architecture than the recipe says",
            where=files.where,
            observed=found,
            expected=architecture,
            hint=(
                f"write `architecture: {architecture_name(found)}`, or take the image for "
                f"{architecture}"
            ),
        )
    diff_ids = field(field(config, "rootfs", dict, files.where), "diff_ids", list, files.where)
    if len(diff_ids) != len(digests):
        raise InputError(
            "the config of the image lists a different number of layers than its manifest",
            where=files.where,
            observed=len(diff_ids),
            expected=len(digests),
        )
    return [
        Layer(
            digest,
            _hex(diff_id, files.where),
            partial(files.chunks, name),
            f"{files.where}: layer {digest}",
        )
        for diff_id, (digest, name) in zip(diff_ids, digests, strict=True)
    ]


def _named(files: Files, descriptors: list[Any], reference: str) -> list[Any]:
    """Return the descriptors with a tag, or the one with a digest, also in nested indexes."""
    if reference.startswith("sha256:"):
        return _with_digest(files, descriptors, reference)
    found = [one for one in descriptors if _is_tagged(one, reference)]
    if found:
        return found
    tags = sorted({str(tag) for one in descriptors if (tag := _tag(one))})
    raise InputError(
        f"no image {reference}",
        where=files.where,
        observed=f"tags {', '.join(tags)}"[:1000] if tags else "images without tags",
        hint=f"write one of the tags, as in `{tags[0]}`"
        if tags
        else "name the image by its digest (sha256:…)",
    )


def _with_digest(files: Files, descriptors: list[Any], reference: str) -> list[Any]:
    # Level by level, so that an image is found before an index that has it, however the indexes are
    # nested.
    level = descriptors
    for _level in range(_NESTED_MAX):
        found = [one for one in level if field(one, "digest", str, files.where) == reference]
        if found:
            return found
        indexes = {one["digest"]: one for one in level if one.get("mediaType") in _INDEXES}
        level = [
            one
            for index in indexes.values()
            for one in field(_blob(files, index), "manifests", list, files.where)
        ]
    return []


def _annotations(descriptor: Any) -> dict[str, Any]:
    found = descriptor.get("annotations") if isinstance(descriptor, dict) else None
    return found if isinstance(found, dict) else {}


def _tag(descriptor: Any) -> str | None:
    return _annotations(descriptor).get(_REF_NAME)


def _is_tagged(descriptor: Any, reference: str) -> bool:
    """Whether a tag, or the full name recorded beside it by BuildKit or docker, is an image's."""
    annotations = _annotations(descriptor)
    return reference in (annotations.get(_REF_NAME), annotations.get(_FULL_NAME))


def _one(found: list[Any], platform: str | None, reference: str | None, where: str) -> Any:
    """Return the one descriptor that is meant: an exact platform wins over others that fit."""
    images = [one for one in found if _REFERENCE_TYPE not in _annotations(one)]
    fitting = [one for one in images if platform is None or _fits(platform, _platform(one))]
    exact = [one for one in fitting if platform is not None and _platform(one) == platform]
    # One image may have several tags.
    digests = {field(one, "digest", str, where): one for one in exact or fitting}
    if len(digests) != 1:
        wanted = filter(None, (reference, platform and f"for {platform}"))
        names = sorted(f"{_tag(one) or ''} {_platform(one) or ''}".strip() for one in images)
        raise InputError(
            "the layout contains several images" if digests else " ".join(["no image", *wanted]),
            where=where,
            observed=", ".join(names)[:1000],
            hint="name the image by its tag or digest, and a platform for a multi-platform image",
        )
    return digests.popitem()[1]


def _fits(wanted: str, found: str | None) -> bool:
    """Whether a platform is the wanted one; the variant matters only if one is requested.

    A descriptor without a platform fits; the config of the image is checked later.
    """
    return found is None or found == wanted or found.startswith(wanted + "/")


def _platform(descriptor: Any) -> str | None:
    platform = descriptor.get("platform") if isinstance(descriptor, dict) else None
    return _platform_text(platform) if isinstance(platform, dict) else None


def _platform_text(values: dict[str, Any]) -> str:
    """Return a platform as text, such as `linux/arm/v7`."""
    return _canonical(
        "/".join(str(values[key]) for key in ("os", "architecture", "variant") if values.get(key))
    )


def _canonical(platform: str) -> str:
    """Return a platform without the default variant of arm64."""
    return platform.removesuffix("/v8") if platform.endswith("/arm64/v8") else platform


def _blob(files: Files, descriptor: Any) -> Any:
    digest = _hex(field(descriptor, "digest", str, files.where), files.where)
    return read_document(files, f"blobs/sha256/{digest}", digest)


def _layers(
    files: Files, manifest: Any, platform: str | None, architecture: str | None
) -> list[Layer]:
    config = _blob(files, field(manifest, "config", dict, files.where))
    observed = _platform_text(config) if isinstance(config, dict) else ""
    if platform is not None and not (_fits(platform, observed) or _fits(observed, platform)):
        raise InputError(
            "the image is for a different platform",
            where=files.where,
            observed=observed,
            expected=platform,
        )
    digests = []
    for layer in field(manifest, "layers", list, files.where):
        media_type = field(layer, "mediaType", str, files.where)
        if media_type not in _LAYERS:
            raise InputError(
                "a layer is of an unknown kind", where=files.where, observed=f"{media_type:.100}"
            )
        digest = _hex(field(layer, "digest", str, files.where), files.where)
        digests.append((digest, f"blobs/sha256/{digest}"))
    return image_layers(files, config, digests, architecture)


def _hex(digest: object, where: str) -> str:
    found = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if found is None:
        raise InputError("not a SHA-256 digest", where=where, observed=f"{digest!r:.100}")
    return found[1]
