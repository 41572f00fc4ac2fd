"""OCI layouts written by hand, so that a test can make any error."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

TAR = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layout:
    """An OCI layout in the making."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs/sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        (self.root / "blobs/sha256" / sha(data)[7:]).write_bytes(data)
        return {"mediaType": media_type, "digest": sha(data), "size": len(data), **more}

    def json(self, value: object, media_type: str, **more: Any) -> dict[str, Any]:
        return self.blob(json.dumps(value).encode(), media_type, **more)

    def image(self, *layers: bytes, arch: str = "amd64", **change: Any) -> dict[str, Any]:
        """Write an image of plain tar layers; `change` replaces fields of its manifest, or diff_ids."""
        diff_ids = change.pop("diff_ids", [sha(layer) for layer in layers])
        variant = change.pop("variant", None)
        config: dict[str, Any] = {
            "os": "linux",
            "architecture": arch,
            "config": {"Cmd": None},
            "rootfs": {"diff_ids": diff_ids},
        }
        config |= {"variant": variant} if variant else {}
        manifest = {
            "schemaVersion": 2,
            "config": self.json(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [self.blob(layer, TAR) for layer in layers],
        } | change
        return self.json(manifest, MANIFEST)

    def index(self, *descriptors: dict[str, Any]) -> Path:
        (self.root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": descriptors}))
        return self.root


def named(descriptor: dict[str, Any], tag: str) -> dict[str, Any]:
    return descriptor | {"annotations": {"org.opencontainers.image.ref.name": tag}}
