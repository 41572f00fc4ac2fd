"""list-image: lists the content of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from otabuild.errors import OtabuildError
from otabuild.format import annotations as ann
from otabuild.format.digest import Descriptor
from otabuild.format.image_config import ImageConfig
from otabuild.format.index import payload_id
from otabuild.format.index_jwt import parse_index_jwt
from otabuild.format.times import utc
from otabuild.image.image import Image
from otabuild.signing.certificates import token_certificates


@dataclass(frozen=True, slots=True)
class ListedPayload:
    """A payload, with the config that describes it."""

    ecu: str
    release_key: str
    digest: str
    config: ImageConfig


@dataclass(frozen=True, slots=True)
class ImageList:
    """The content of an image.

    Attributes:
        size: bytes of the artifact, or of all files of the directory; where they are not listed, of
            index.json, index.jwt and the blobs, as index.json counts them.
        signer: subject of the certificate in the signature, unchecked; None if it cannot be read.
        signed_at: Unix seconds in the signature, unchecked.
        is_artifact: whether it is a ZIP.
        is_signed: whether index.jwt exists; only verification checks it.
        annotations: the annotations of index.json.
        payloads: the file-based payloads.
        has_otaclient_package: whether the image has a package for otaclient itself.
        unknown: entries of unknown types; they are never deployed.
        partition_payloads: names of the partition-based payloads, which are verified but not
            deployed.
        has_update_agent: whether the image has an update agent package.
    """

    size: int
    signer: str | None
    signed_at: int | None
    is_artifact: bool
    is_signed: bool
    annotations: dict[str, Any]
    payloads: tuple[ListedPayload, ...]
    has_otaclient_package: bool
    unknown: tuple[Descriptor, ...]
    partition_payloads: tuple[str, ...]
    has_update_agent: bool

    def to_value(self) -> dict[str, object]:
        """Return the list as plain JSON values."""
        return {
            "artifact": self.is_artifact,
            "signed": self.is_signed,
            "size": self.size,
            "signer": self.signer,
            "signed-at": None if self.signed_at is None else utc(self.signed_at),
            "annotations": self.annotations,
            "payloads": [
                {
                    "ecu": payload.ecu,
                    "release-key": payload.release_key,
                    "digest": payload.digest,
                    "architecture": payload.config.architecture,
                    "os": payload.config.os,
                    "os-version": payload.config.os_version,
                    "base-image": payload.config.labels.get(ann.BASE_IMAGE),
                    "rootfs-size": payload.config.labels.get(ann.ROOTFS_SIZE),
                    "labels": payload.config.labels,
                }
                for payload in self.payloads
            ],
            "otaclient-package": self.has_otaclient_package,
            "partition-payloads": list(self.partition_payloads),
            "update-agent": self.has_update_agent,
            "unknown": [descriptor.to_value() for descriptor in self.unknown],
        }


def list_image(image: Image) -> ImageList:
    """List the content of an image.

    Raises:
        FormatError, IntegrityError: index.json, a manifest or a config is invalid.
    """
    index = image.index
    payloads = tuple(
        ListedPayload(
            payload.ecu, payload.release_key, payload.descriptor.digest_text, payload.config
        )
        for payload in image.payloads
    )
    return ImageList(
        _size(image),
        *_signer(image.token_raw),
        image.source.is_artifact,
        image.token_raw is not None,
        index.annotations,
        payloads,
        index.otaclient_package is not None,
        index.unknown,
        tuple("/".join(payload_id(descriptor)) for descriptor in index.partition_payloads),
        index.update_agent is not None,
    )


def _size(image: Image) -> int:
    size = image.source.total_size()
    if size is None:
        size = (
            len(image.index_raw)
            + len(image.token_raw or b"")
            + image.index.annotations.get(ann.BLOBS_SIZE, 0)
        )
    return size


def _signer(token_raw: bytes | None) -> tuple[str | None, int | None]:
    """Return the claimed signer and time; only verification checks them."""
    try:
        token = parse_index_jwt(token_raw or b"", compat=True)
    except OtabuildError:
        return None, None
    return token_certificates(token)[0].subject, token.issued_at
