"""CycloneDX 1.6: the image, its payloads, and what is installed in them, as one JSON document."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.bom_ref import BomRef
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import DisjunctiveLicense, License, LicenseExpression
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.spdx import is_expression, is_supported_id
from packageurl import PackageURL

from otabuild.errors import StateError
from otabuild.format import annotations as ann
from otabuild.image.image import Image, Payload
from otabuild.packages.installed import InstalledPackage
from otabuild.packages.survey import Inventory
from otabuild.sbom.package_urls import package_url
from otabuild.version import __version__


def make_sbom(
    image: Image, contents: Sequence[tuple[Payload, Inventory]], *, unpackaged: bool = False
) -> bytes:
    """Return the bill of materials of an image.

    The same image gives the same bytes: the serial number follows from the digest of index.json,
    and the time is that of the image.

    Args:
        image: the image.
        contents: the payloads to describe, and what they contain; see `read_inventories`.
        unpackaged: also list the files that belong to no package, each with its digest.

    Raises:
        StateError: the image is not finalized, so it has no time.
    """
    digest = hashlib.sha256(image.index_raw).digest()
    parts = _Parts()
    root = _image_component(image, digest)
    payloads = [
        _add_payload(parts, payload, inventory, unpackaged=unpackaged)
        for payload, inventory in contents
    ]
    parts.depends(root.bom_ref, payloads)
    names = ",".join(payload.name for payload, _ in contents)
    serial = hashlib.sha256(digest + f"{names}:{unpackaged}".encode()).digest()
    tool = Component(name="otabuild", version=__version__, type=ComponentType.APPLICATION)
    bom = Bom(
        serial_number=UUID(bytes=serial[:16], version=5),
        metadata=BomMetaData(
            component=root,
            timestamp=datetime.fromtimestamp(_created(image), UTC),
            tools=ToolRepository(components=[tool]),
        ),
        components=parts.components.values(),
        dependencies=parts.dependencies,
    )
    return JsonV1Dot6(bom).output_as_string(indent=1).encode() + b"\n"


def _created(image: Image) -> int:
    if image.index.created_at is None:
        raise StateError(
            "not finalized: something may still be added to this image", where=image.path
        )
    return image.index.created_at


class _Parts:
    """The components by their references, each once, and what depends on what."""

    def __init__(self) -> None:
        self.components: dict[str, Component] = {}
        self.dependencies: list[Dependency] = []

    def add(self, component: Component) -> BomRef:
        return self.components.setdefault(str(component.bom_ref.value), component).bom_ref

    def depends(self, ref: BomRef, below: Iterable[BomRef]) -> None:
        each_once = {one.value: one for one in below}
        self.dependencies.append(Dependency(ref, map(Dependency, each_once.values())))


def _image_component(image: Image, digest: bytes) -> Component:
    annotations = image.index.annotations
    short = ann.INDEX_SHORT_KEYS
    name = str(
        annotations.get(short["project.name"]) or annotations.get(short["platform"]) or "ota-image"
    )
    return Component(
        name=name,
        version=annotations.get(short["project.version"]),
        type=ComponentType.FIRMWARE,
        bom_ref=f"image:sha256:{digest.hex()}",
        hashes=[_sha256(digest)],
        purl=PackageURL("oci", None, name.lower(), f"sha256:{digest.hex()}"),
    )


def _sha256(digest: bytes) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest.hex())


def _add_payload(
    parts: _Parts, payload: Payload, inventory: Inventory, *, unpackaged: bool
) -> BomRef:
    config = payload.config
    facts = {
        "ecu": payload.ecu,
        "release-key": payload.release_key,
        "architecture": config.architecture,
        "base-image": config.labels.get(ann.BASE_IMAGE),
        "unpackaged-files": len(inventory.unpackaged),
    }
    notes = [Property(name="otabuild:unread", value=note.why) for note in inventory.notes]
    ref = parts.add(
        Component(
            name=payload.name,
            version=config.os_version,
            type=ComponentType.CONTAINER,
            bom_ref=f"payload:{payload.name}@{payload.descriptor.digest_text}",
            hashes=[_sha256(payload.descriptor.digest)],
            properties=[
                *(
                    Property(name=f"otabuild:{name}", value=str(value))
                    for name, value in facts.items()
                    if value is not None
                ),
                *notes,
            ],
        )
    )
    below = [
        parts.add(component) for component in _contained(payload, inventory, unpackaged=unpackaged)
    ]
    parts.depends(ref, below)
    return ref


def _contained(payload: Payload, inventory: Inventory, *, unpackaged: bool) -> Iterator[Component]:
    """Yield what a payload contains: system, kernels, BSP, packages, other files if wanted."""
    name, version = inventory.distribution
    if name:
        yield Component(
            name=name,
            version=version or None,
            type=ComponentType.OPERATING_SYSTEM,
            bom_ref=f"os:{name}@{version}",
        )
    for kernel in inventory.kernels:
        cpe = f"cpe:2.3:o:linux:linux_kernel:{_plain_version(kernel)}"
        yield _plain(ComponentType.PLATFORM, "linux", kernel, cpe)
    if bsp := payload.config.labels.get(ann.BSP_VERSION):
        yield _plain(ComponentType.FIRMWARE, "jetson-linux", bsp)
    places: dict[str, list[InstalledPackage]] = {}
    for package in inventory.maintained:
        url = package_url(package, inventory.distribution).to_string()
        places.setdefault(url, []).append(package)
    for packages in places.values():
        yield _package_component(packages, package_url(packages[0], inventory.distribution))
    for path in inventory.unpackaged if unpackaged else ():
        digest = inventory.tree.files[path].digest or b""
        yield Component(
            name=path,
            type=ComponentType.FILE,
            bom_ref=f"file:{path}@sha256:{digest.hex()}",
            hashes=[_sha256(digest)],
        )


def _plain(kind: ComponentType, name: str, version: str, cpe: str | None = None) -> Component:
    url = PackageURL("generic", None, name, version)
    full = None if cpe is None else f"{cpe}:*:*:*:*:*:*:*"
    return Component(
        name=name, version=version, type=kind, purl=url, bom_ref=url.to_string(), cpe=full
    )


def _plain_version(kernel: str) -> str:
    """Return the kernel version that a maker's is made from: `5.10.104` of `5.10.104-tegra`."""
    return kernel.partition("-")[0].partition("+")[0]


def _package_component(packages: Sequence[InstalledPackage], url: PackageURL) -> Component:
    package = packages[0]
    group, _, name = (
        package.name.rpartition("/") if package.type == "npm" else ("", "", package.name)
    )
    return Component(
        name=name,
        group=group or None,
        version=package.version,
        type=ComponentType.LIBRARY,
        purl=url,
        bom_ref=url.to_string(),
        licenses=_licenses(package.licenses),
        # The library sorts evidence by references that it makes up, which differ from run to run.
        properties=[Property(name="otabuild:database", value=one.database) for one in packages],
    )


def _licenses(texts: Sequence[str]) -> list[License]:
    """Return licences as the document can say them: one expression, or a list of ids and names."""
    if len(texts) == 1 and not is_supported_id(texts[0]) and is_expression(texts[0]):
        return [LicenseExpression(texts[0])]
    ids = [DisjunctiveLicense(id=text) for text in texts if is_supported_id(text)]
    return [*ids, *(DisjunctiveLicense(name=text) for text in texts if not is_supported_id(text))]
