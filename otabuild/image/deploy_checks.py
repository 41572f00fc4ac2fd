"""What must hold before a payload is deployed, however it is written."""

from __future__ import annotations

from dataclasses import dataclass

from otabuild.errors import TrustError
from otabuild.image.findings import demand
from otabuild.image.payload import Payload
from otabuild.image.rules_documents import DocumentsSubject, read_sys_config_of
from otabuild.image.rules_file_table import FileTableSubject, LabelsSubject
from otabuild.image.rules_resources import JoinSubject, ResourcesSubject
from otabuild.image.verify_sign import verify_sign
from otabuild.signing.trust import TrustPolicy


@dataclass(frozen=True, slots=True)
class Deployed:
    """What was deployed: where, whose signature was on it (None: not checked), and how much.

    `content_size` is in bytes; a content counts once for each inode that has it.
    """

    target: str
    payload: str
    signer: str | None
    inodes: int
    content_size: int

    def to_value(self) -> dict[str, object]:
        """The result as plain JSON values."""
        return {
            "target": self.target,
            "payload": self.payload,
            "signer": self.signer,
            "inodes": self.inodes,
            "content-size": self.content_size,
        }


def check_deployable(
    payload: Payload, policy: TrustPolicy | None, now: int, *, insecure_no_verify: bool, compat: bool
) -> str | None:
    """Verify the signature of its image, unless told otherwise, and every rule about a payload and its tables.

    Returns:
        The subject of the signing certificate; None where the signature was not checked.

    Raises:
        TrustError: the image is not signed, or not by whom the caller trusts, or no trust was given.
        OtabuildError: the first rule that is broken; of the class that the rule names.
    """
    image, signer = payload.image, None
    if not insecure_no_verify:
        if policy is None:
            raise TrustError("no trust anchor was given", where=image.path, hint="name one, with --ca or --ca-dir")
        signer = verify_sign(image, policy, now, compat=compat).chain[0].subject
    demand(DocumentsSubject(payload.name, payload.descriptor, payload.manifest, payload.config))
    read_sys_config_of(payload)
    demand(FileTableSubject(payload.file_table))
    demand(LabelsSubject(f"config of {payload.name}", payload.config.labels, payload.file_table))
    demand(ResourcesSubject(image.resources, image.blobs.size))
    demand(JoinSubject(payload.file_table, image.resources))
    return signer
