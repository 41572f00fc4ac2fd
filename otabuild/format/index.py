"""index.json: the entry point of an image (section 2), and oci-layout (section 1)."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated, Literal, Self

from pydantic import Field, StrictInt, model_validator

from otabuild.errors import FormatError
from otabuild.format import annotations as ann
from otabuild.format import limits
from otabuild.format.digest import Descriptor
from otabuild.format.document import Bounded, Document, parse_json
from otabuild.format.media_types import (
    OCI_INDEX,
    OCI_MANIFEST,
    OTACLIENT_ARTIFACT,
    OTACLIENT_MANIFEST,
    PARTITION_ARTIFACT,
    PAYLOAD_ARTIFACT,
    RESOURCE_TABLES,
    UPDATE_AGENT_ARTIFACT,
    UPDATE_AGENT_MANIFEST,
)

OCI_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


def check_oci_layout(raw: bytes) -> None:
    """Check oci-layout against its only legal content.

    Raises:
        FormatError: its content is different.
    """
    value = parse_json(raw, "oci-layout")
    if value != {"imageLayoutVersion": "1.0.0"}:
        raise FormatError(
            "unknown layout", where="oci-layout", observed=value, expected=OCI_LAYOUT.decode()
        )


class Index(Document):
    """index.json. Every typed lookup keeps the order of `manifests`."""

    schema_version: StrictInt = Field(default=2, alias="schemaVersion", ge=2, le=2)
    media_type: Literal["application/vnd.oci.image.index.v1+json"] = Field(
        default=OCI_INDEX, alias="mediaType"
    )
    manifests: Annotated[tuple[Descriptor, ...], Bounded]
    annotations: ann.Annotations

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Return the model of these bytes. Entries of unknown type are kept, see `unknown`.

        Raises:
            FormatError: not an index of this format, or an index that clients would refuse.
        """
        return cls.from_json(raw, "index.json", limits.INDEX)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ann.check_counts(self.annotations, ann.INDEX_COUNTS)
        for key in (ann.CREATED_AT, ann.SIGNED_AT):
            if self.annotations.get(key, 0) > limits.TIME:
                raise ValueError(f"{key} is {self.annotations[key]}, later than the year 9999")
        if ann.BUILDER_VERSION not in self.annotations:
            raise ValueError(f"annotation {ann.BUILDER_VERSION} is missing")
        ids: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for payload in (*self.payloads, *self.partition_payloads):
            ids[payload_id(payload)].append(payload.digest_text)
        twice = [
            f"{ecu}/{key} ({' and '.join(all_[:2])})"
            for (ecu, key), all_ in ids.items()
            if len(all_) > 1
        ]
        if twice:
            raise ValueError(f"two payloads share ecu and release key: {', '.join(twice)}")
        # All payloads of files share one table. Only an image of partitions alone does without.
        tables = sum(d.media_type in RESOURCE_TABLES for d in self.manifests)
        only_partitions = bool(self.partition_payloads) and not self.payloads
        if tables > 1 or (tables == 0 and not only_partitions):
            raise ValueError(f"{tables} resource tables: expected exactly one")
        # Of two packages, one client would install the first and another the last.
        for what, kind in (
            ("otaclient", OTACLIENT_MANIFEST),
            ("update agent", UPDATE_AGENT_MANIFEST),
        ):
            count = sum(d.media_type == kind for d in self.manifests)
            if count > 1:
                raise ValueError(f"{count} {what} packages: at most one is allowed")
        return self

    @property
    def payloads(self) -> tuple[Descriptor, ...]:
        """The descriptors of file-based image payloads.

        Those with an unknown release key are in `unknown`.
        """
        return self._payloads_of(PAYLOAD_ARTIFACT)

    @property
    def partition_payloads(self) -> tuple[Descriptor, ...]:
        """The descriptors of partition-based payloads, which are verified but not deployed."""
        return self._payloads_of(PARTITION_ARTIFACT)

    def _payloads_of(self, artifact_type: str) -> tuple[Descriptor, ...]:
        return tuple(
            d
            for d in self.manifests
            if d.media_type == OCI_MANIFEST
            and d.artifact_type == artifact_type
            # For another key, clients refuse the whole index (section 12).
            and (d.annotations or {}).get(ann.RELEASE_KEY, "dev") in ("dev", "prd")
        )

    @property
    def has_resource_table(self) -> bool:
        """Whether there is a resource table; only file-based payloads need one."""
        return any(d.media_type in RESOURCE_TABLES for d in self.manifests)

    @property
    def resource_table(self) -> Descriptor:
        """The descriptor of the resource table.

        Raises:
            FormatError: the image has none, because it has no file-based payload.
        """
        for descriptor in self.manifests:
            if descriptor.media_type in RESOURCE_TABLES:
                return descriptor
        raise FormatError(
            "no resource table: the image has no file-based payload", where="index.json"
        )

    @property
    def update_agent(self) -> Descriptor | None:
        """The descriptor of the update agent package of the next generation, or None."""
        # With another artifactType it is none of those that section 12 knows.
        kind = UPDATE_AGENT_MANIFEST, UPDATE_AGENT_ARTIFACT
        return next((d for d in self.manifests if (d.media_type, d.artifact_type) == kind), None)

    @property
    def otaclient_package(self) -> Descriptor | None:
        """The descriptor of the otaclient package, or None."""
        return next((d for d in self.manifests if d.media_type == OTACLIENT_MANIFEST), None)

    @property
    def unknown(self) -> tuple[Descriptor, ...]:
        """Entries that clients refuse or mistake; readers report them and never deploy them."""
        tables = (d for d in self.manifests if d.media_type in RESOURCE_TABLES)
        known = {
            id(d) for d in (*self.payloads, *self.partition_payloads, *tables, self.update_agent)
        }
        package = self.otaclient_package
        if package is not None and package.artifact_type == OTACLIENT_ARTIFACT:
            known.add(id(package))
        return tuple(d for d in self.manifests if id(d) not in known)

    @property
    def created_at(self) -> int | None:
        """Unix seconds of the build, or None if the image is not finalized."""
        return self.annotations.get(ann.CREATED_AT)

    @property
    def signed_at(self) -> int | None:
        """Unix seconds of the signature, or None if the image is not signed."""
        return self.annotations.get(ann.SIGNED_AT)


def payload_id(descriptor: Descriptor) -> tuple[str, str]:
    """Return the ECU id and the release key of a payload's descriptor; the default key is `dev`.

    Raises:
        ValueError: the ecu is missing or empty.
    """
    annotations = descriptor.annotations or {}
    ecu, key = annotations.get(ann.ECU, ""), annotations.get(ann.RELEASE_KEY, "dev")
    if not ecu:
        raise ValueError(f"payload {descriptor.digest_text} has no {ann.ECU}")
    return ecu, key
