"""list-image: what an image holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from otabuild.format.digest import Descriptor
from otabuild.format.image_config import ImageConfig
from otabuild.image.image import Image


@dataclass(frozen=True, slots=True)
class ListedPayload:
    """A payload, with the config that describes it."""

    ecu: str
    release_key: str
    digest: str
    config: ImageConfig


@dataclass(frozen=True, slots=True)
class ImageList:
    """What an image holds.

    Attributes:
        is_artifact: whether it is a ZIP.
        is_signed: whether there is an index.jwt; whether that holds is for verification to say.
        annotations: those of index.json.
        payloads: the file-based payloads.
        has_otaclient_package: whether there is a package for otaclient itself.
        unknown: entries of types that we do not know; they are never deployed.
    """

    is_artifact: bool
    is_signed: bool
    annotations: dict[str, Any]
    payloads: tuple[ListedPayload, ...]
    has_otaclient_package: bool
    unknown: tuple[Descriptor, ...]

    def to_value(self) -> dict[str, object]:
        """The list as plain JSON values."""
        return {
            "artifact": self.is_artifact,
            "signed": self.is_signed,
            "annotations": self.annotations,
            "payloads": [
                {
                    "ecu": payload.ecu,
                    "release-key": payload.release_key,
                    "digest": payload.digest,
                    "architecture": payload.config.architecture,
                    "labels": payload.config.labels,
                }
                for payload in self.payloads
            ],
            "otaclient-package": self.has_otaclient_package,
            "unknown": [descriptor.to_value() for descriptor in self.unknown],
        }


def list_image(image: Image) -> ImageList:
    """List what an image holds.

    Raises:
        FormatError, IntegrityError: index.json, a manifest or a config does not hold.
    """
    index = image.index
    payloads = tuple(
        ListedPayload(payload.ecu, payload.release_key, payload.descriptor.digest_text, payload.config)
        for payload in image.payloads
    )
    return ImageList(
        image.source.is_artifact,
        image.token_raw is not None,
        index.annotations,
        payloads,
        index.otaclient_package is not None,
        index.unknown,
    )
