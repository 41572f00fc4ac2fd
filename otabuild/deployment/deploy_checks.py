"""The conditions for deploying a payload in any form."""

from __future__ import annotations

from dataclasses import dataclass

from otabuild.deployment.contents import Transfer
from otabuild.deployment.old_trees import OldTrees
from otabuild.errors import TrustError
from otabuild.findings import demand
from otabuild.image.image import Payload
from otabuild.signing.trust import TrustPolicy
from otabuild.verification.rules_documents import DocumentsSubject, read_sys_config_of
from otabuild.verification.rules_file_table import FileTableSubject
from otabuild.verification.rules_labels import LabelsSubject
from otabuild.verification.rules_resources import JoinSubject, ResourcesSubject, reached_by
from otabuild.verification.verify_sign import verify_sign


@dataclass(frozen=True, slots=True)
class Deployed:
    """The result of a deployment: the target, the signer (None: not checked), and the amounts.

    `content_size` is in bytes; a content counts once for each inode with it. `transfer` is None if
    nothing was reused and the image is on this machine.
    """

    target: str
    payload: str
    signer: str | None
    inodes: int
    content_size: int
    transfer: Transfer | None = None

    def to_value(self) -> dict[str, object]:
        """Return the result as plain JSON values."""
        return {
            "target": self.target,
            "payload": self.payload,
            "signer": self.signer,
            "inodes": self.inodes,
            "content-size": self.content_size,
            **({} if self.transfer is None else self.transfer.to_value()),
        }


def check_deployable(
    payload: Payload,
    policy: TrustPolicy | None,
    now: int,
    *,
    insecure_no_verify: bool,
    reuse: OldTrees | None = None,
) -> str | None:
    """Verify the signature of the image, unless told otherwise, and all rules about a payload.

    From a server, each table comes while there is something else to do; so old trees are asked to
    open theirs meanwhile.

    Returns:
        The subject of the signing certificate, or None if the signature was not checked.

    Raises:
        TrustError: the image is not signed, or not by a trusted signer, or no trust policy was
            given.
        OtabuildError: the first violated rule; the rule determines the class.
    """
    image, signer = payload.image, None
    if not insecure_no_verify:
        if policy is None:
            raise TrustError(
                "no trust anchor was given",
                where=image.path,
                hint="name one, with --ca or --ca-dir",
            )
        signer = verify_sign(image, policy, now).chain[0].subject
    image.blobs.expect(payload.manifest.file_table)
    demand(DocumentsSubject(payload.name, payload.descriptor, payload.manifest, payload.config))
    read_sys_config_of(payload)
    if reuse is not None:
        reuse.open_tables()
    file_table = payload.file_table
    image.blobs.expect(image.index.resource_table)
    demand(FileTableSubject(file_table))
    demand(LabelsSubject(f"config of {payload.name}", payload.config.labels, file_table))
    demand(
        ResourcesSubject(
            image.resources, image.blobs.size_of, reached_by(file_table, image.resources)
        )
    )
    demand(JoinSubject(file_table, image.resources))
    return signer
