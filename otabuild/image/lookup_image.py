"""lookup-image: the manifest and the config of one payload."""

from __future__ import annotations

from dataclasses import dataclass

from otabuild.format.image_config import ImageConfig
from otabuild.format.manifest import Manifest
from otabuild.image.image import Image


@dataclass(frozen=True, slots=True)
class LookedUp:
    """The documents of a payload."""

    manifest: Manifest
    config: ImageConfig

    def to_value(self) -> dict[str, object]:
        """Both documents as plain JSON values, unknown fields included."""
        return {"manifest": self.manifest.to_value(), "config": self.config.to_value()}


def lookup_image(image: Image, ecu: str, release_key: str = "dev") -> LookedUp:
    """Find the documents of the payload for an ECU.

    Raises:
        InputError: there is no such payload.
        FormatError, IntegrityError: a document does not hold.
    """
    payload = image.payload(ecu, release_key)
    return LookedUp(payload.manifest, payload.config)
