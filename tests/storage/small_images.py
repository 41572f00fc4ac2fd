"""Images of one blob, each told from others by its content, for tests of how images are written and replaced."""

from __future__ import annotations

from pathlib import Path

from otabuild.format.annotations import BUILDER_VERSION
from otabuild.format.digest import Descriptor
from otabuild.format.index import OCI_LAYOUT, Index
from otabuild.format.media_types import RESOURCE_TABLE_ZSTD
from otabuild.storage.directory_writer import write_directory
from otabuild.storage.member import Member, document


def image(content: str) -> list[Member]:
    table = Descriptor.of(content.encode(), RESOURCE_TABLE_ZSTD)
    index = Index(manifests=(table,), annotations={BUILDER_VERSION: "1"})
    blob = document(f"blobs/sha256/{table.digest.hex()}", content.encode())
    return [document("index.json", index.to_json()), document("oci-layout", OCI_LAYOUT), blob]


def write(path: Path, content: str) -> None:
    write_directory(str(path), image(content), progress=lambda _size: None)


def blob(path: Path) -> str:
    (found,) = (path / "blobs/sha256").iterdir()
    return found.read_text()
