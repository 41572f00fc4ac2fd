"""An image of an OCI layout: which manifest, and which layers."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from otabuild.errors import InputError
from otabuild.rootfs.image_files import Files, field, read_document
from otabuild.rootfs.layers import Layer

_INDEXES = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}
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
}
_REF_NAME = "org.opencontainers.image.ref.name"
_DIGEST = re.compile("sha256:([0-9a-f]{64})")
_NESTED_MAX = 4


def oci_layers(files: Files, reference: str | None, platform: str | None) -> list[Layer]:
    """The layers of an image, the lowest first.

    Args:
        files: the layout.
        reference: a tag or a digest (`sha256:…`); None where the layout holds one image only.
        platform: which image of a multi-platform index, such as `linux/arm64`.

    Raises:
        InputError: the layout is damaged, or does not hold exactly one such image.
    """
    layout = read_document(files, "oci-layout")
    if field(layout, "imageLayoutVersion", str, files.where) != "1.0.0":
        raise InputError("the OCI layout has an unknown version", where=files.where)
    found = _named(field(read_document(files, "index.json"), "manifests", list, files.where), reference, files.where)
    for _level in range(_NESTED_MAX):
        chosen = _one(found, platform, reference, files.where)
        media_type = field(chosen, "mediaType", str, files.where)
        document = _blob(files, chosen)
        if media_type in _MANIFESTS:
            return _layers(files, document, platform)
        if media_type not in _INDEXES:
            raise InputError("the image is of an unknown media type", where=files.where, observed=f"{media_type:.100}")
        found = field(document, "manifests", list, files.where)
    raise InputError("the indexes of the image are nested too deeply", where=files.where)


def image_layers(files: Files, config: Any, digests: list[tuple[str, str]]) -> list[Layer]:
    """Layers from the image config and the (digest in hex, file name) of each."""
    diff_ids = field(field(config, "rootfs", dict, files.where), "diff_ids", list, files.where)
    if len(diff_ids) != len(digests):
        raise InputError(
            "the config of the image lists another number of layers than its manifest",
            where=files.where,
            observed=len(diff_ids),
            expected=len(digests),
        )
    return [
        Layer(digest, _hex(diff_id, files.where), partial(files.chunks, name), f"{files.where}: layer {digest}")
        for diff_id, (digest, name) in zip(diff_ids, digests, strict=True)
    ]


def _named(descriptors: list[Any], reference: str | None, where: str) -> list[Any]:
    if reference is None:
        return descriptors
    if reference.startswith("sha256:"):
        found = [one for one in descriptors if field(one, "digest", str, where) == reference]
        return found[:1]  # one image may have several tags
    return [one for one in descriptors if _tag(one) == reference]


def _tag(descriptor: Any) -> str | None:
    annotations = descriptor.get("annotations") if isinstance(descriptor, dict) else None
    return annotations.get(_REF_NAME) if isinstance(annotations, dict) else None


def _one(found: list[Any], platform: str | None, reference: str | None, where: str) -> Any:
    """The one descriptor that is meant."""
    fitting = [one for one in found if platform is None or _platform(one) in {None, platform}]
    if len(fitting) != 1:
        raise InputError(
            "the layout holds no such image" if not fitting else "the layout holds several images",
            where=f"{where}:{reference}" if reference else where,
            observed=", ".join(sorted(f"{_tag(one) or ''} {_platform(one) or ''}".strip() for one in found))[:1000],
            hint="name the image by its tag or digest, and a platform for a multi-platform image",
        )
    return fitting[0]


def _platform(descriptor: Any) -> str | None:
    platform = descriptor.get("platform") if isinstance(descriptor, dict) else None
    return _platform_text(platform) if isinstance(platform, dict) else None


def _platform_text(values: dict[str, Any]) -> str:
    return "/".join(str(values[key]) for key in ("os", "architecture", "variant") if values.get(key))


def _blob(files: Files, descriptor: Any) -> Any:
    digest = _hex(field(descriptor, "digest", str, files.where), files.where)
    return read_document(files, f"blobs/sha256/{digest}", digest)


def _layers(files: Files, manifest: Any, platform: str | None) -> list[Layer]:
    config = _blob(files, field(manifest, "config", dict, files.where))
    observed = _platform_text(config) if isinstance(config, dict) else ""
    if platform is not None and platform not in {observed, observed.rpartition("/")[0]}:
        raise InputError("the image is for another platform", where=files.where, observed=observed, expected=platform)
    digests = []
    for layer in field(manifest, "layers", list, files.where):
        media_type = field(layer, "mediaType", str, files.where)
        if media_type not in _LAYERS or layer.get("urls"):
            raise InputError(
                "a layer of the image lies elsewhere or is of an unknown kind",
                where=files.where,
                observed=f"{media_type:.100}",
                hint="copy the image with all of its layers, for instance with skopeo copy",
            )
        digest = _hex(field(layer, "digest", str, files.where), files.where)
        digests.append((digest, f"blobs/sha256/{digest}"))
    return image_layers(files, config, digests)


def _hex(digest: object, where: str) -> str:
    found = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if found is None:
        raise InputError("not a SHA-256 digest", where=where, observed=f"{digest!r:.100}")
    return found[1]
