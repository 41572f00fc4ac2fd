"""Verification: checks in order what makes an image valid, and collects all findings.

It covers sections 1 to 12.

This module reads the image, hands documents and tables to the rules, and collects what they find.
If a step cannot run, the reason is already a finding: its input did not parse.
"""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.serialization import Encoding

from otabuild.errors import Finding, OtabuildError, TrustError
from otabuild.findings import SHOWN, run_rules
from otabuild.format import limits
from otabuild.format.digest import Blob, Descriptor, Reading
from otabuild.format.index import Index
from otabuild.format.resource_table import ResourceRow
from otabuild.image.image import Image, Payload
from otabuild.image.next_generation import check_layer, read_partition_payload, read_update_agent
from otabuild.image.otaclient_package import check_legacy, read_package
from otabuild.image.rebuild import Opener, batches, rebuild, run_parallel
from otabuild.image.resources import NAME, GroupMember
from otabuild.image.tables import FileTable
from otabuild.signing.authenticity import SignatureReport, check_index_jwt
from otabuild.signing.trust import TrustPolicy
from otabuild.storage.backend import Backend
from otabuild.tally import Progress, Tally
from otabuild.verification.rules_container import ContainerSubject, IndexSubject
from otabuild.verification.rules_documents import DocumentsSubject, read_sys_config_of
from otabuild.verification.rules_file_table import FileTableSubject
from otabuild.verification.rules_labels import LabelsSubject
from otabuild.verification.rules_resources import (
    JoinSubject,
    NeededSubject,
    ResourcesSubject,
    SizeOf,
    StoredSubject,
)

_DOCUMENTS = frozenset({"manifest", "config", "otaclient", "partition", "update-agent"})
_PAYLOAD_TABLE = frozenset({"manifest", "table"})


@dataclass(frozen=True, slots=True)
class Report:
    """The result of verification.

    Attributes:
        image: the path of the image.
        shallow: whether it was asked to skip contents: stored blobs were hashed, but no content was
            rebuilt.
        contents_checked: whether every content that can be resolved, if any, was rebuilt and
            compared with its digest.
        strict: whether notes count as errors.
        signature: the signer; None if the signature is invalid or was not checked.
        counts: the number of payloads, blobs, bytes and contents checked.
        findings: all findings in the order of the checks.
        not_looked_for: what could not be found here, because the place of the image cannot tell.
    """

    image: str
    shallow: bool
    contents_checked: bool
    strict: bool
    signature: SignatureReport | None
    counts: Mapping[str, int]
    findings: tuple[Finding, ...]
    not_looked_for: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the image is valid: no error and, with `strict`, no note."""
        return not any(self.strict or finding.severity == "error" for finding in self.findings)

    def to_value(self) -> dict[str, object]:
        """Return the report as plain JSON values."""
        return {
            "ok": self.ok,
            "image": self.image,
            "shallow": self.shallow,
            "contents-checked": self.contents_checked,
            "strict": self.strict,
            "signature": None if self.signature is None else self.signature.to_value(),
            "counts": dict(self.counts),
            "findings": [finding.to_value() for finding in self.findings],
            **({"not-looked-for": list(self.not_looked_for)} if self.not_looked_for else {}),
        }


def verify(
    image: Image,
    policy: TrustPolicy | None,
    now: int,
    *,
    shallow: bool = False,
    strict: bool = False,
    without_signature: bool = False,
    proven: Collection[bytes] = (),
    progress: Progress | None = None,
) -> Report:
    """Verify an image completely.

    The contents of an image that is not authentic are not rebuilt: whoever made it may have made
    them endless.

    Args:
        image: an open image.
        policy: whom to trust. None results in an error, unless the signature is not checked.
        now: Unix seconds.
        shallow: do not rebuild contents; every stored blob is still hashed.
        strict: notes also make the image invalid.
        without_signature: check everything except authenticity, as for an image that is not signed
            yet.
        proven: digests of blobs that the caller knows to be right, because it has just hashed them,
            or because somebody trusted vouches for them; those that nothing else needs are not
            read.
        progress: called with the bytes hashed.

    Returns:
        The report; its `ok` says whether the image is valid.

    Raises:
        StorageError: no space for temporary files.
    """
    run = _Run(image, Tally(progress=progress), verified={*proven})
    signature = None if without_signature else run.check_signature(policy, now)
    image.blobs.on_verified = run.verified.add
    try:
        run.check_image(shallow=shallow or run.is_refused)
    finally:
        image.blobs.on_verified = None
    run.findings.extend(
        Finding(image.path, note, rule="compat", severity="note") for note in image.compat.notes
    )
    return Report(
        image.path,
        shallow,
        run.contents_checked,
        strict,
        signature,
        run.counts,
        findings=tuple(dict.fromkeys(run.findings)),
        not_looked_for=tuple(_not_looked_for(image.source)),
    )


def _not_looked_for(source: Backend) -> Iterator[str]:
    if not source.lists_files:
        yield "files that do not belong in an image: this place does not list its files"
    if not source.lists_blobs:
        yield "blobs that nothing in the image refers to"


@dataclass
class _Run:
    image: Image
    tally: Tally
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    verified: set[bytes] = field(default_factory=set)
    referenced: dict[bytes, int] = field(default_factory=dict)
    signer: bytes | None = None
    contents_checked: bool = False

    @property
    def is_refused(self) -> bool:
        """Whether an error was found so far."""
        return any(finding.severity == "error" for finding in self.findings)

    @contextmanager
    def collected(self, rule: str) -> Iterator[None]:
        try:
            yield
        except OtabuildError as error:
            self.findings.append(Finding.of_error(rule, error))

    def apply(self, *subjects: object) -> None:
        for subject in subjects:
            self.findings.extend(run_rules(subject))

    @contextmanager
    def gathered(self, rule: str) -> Iterator[Callable[[OtabuildError], None]]:
        """Take errors from threads; add the first by an order that does not depend on threads."""
        found: list[Finding] = []
        lock = threading.Lock()

        def keep(error: OtabuildError) -> None:
            with lock:
                insort(found, Finding.of_error(rule, error), key=str)
                del found[SHOWN + 1 :]

        try:
            yield keep
        finally:
            if len(found) > SHOWN:
                found[SHOWN] = Finding(found[SHOWN].where, "and more of the same", rule=rule)
            self.findings.extend(found)

    def check_signature(self, policy: TrustPolicy | None, now: int) -> SignatureReport | None:
        report: SignatureReport | None = None
        with self.collected("signature"):
            token = self.image.token_raw
            if token is None:
                raise TrustError("the image is not signed", where="index.jwt")
            report, problems = check_index_jwt(
                token, self.image.index_raw, policy, now, compat=self.image.compat.is_on
            )
            self.findings.extend(Finding.of_error("signature", problem) for problem in problems)
            if report is not None:
                self.signer = report.chain[0].x509.public_bytes(Encoding.DER)
                notes = (Finding.of_error("signature", note) for note in report.notes)
                self.findings.extend(replace(note, severity="note") for note in notes)
            if policy is None:
                raise TrustError("no trust anchor was given", where="index.jwt")
        return report

    def check_image(self, *, shallow: bool) -> None:
        image = self.image
        with self.collected("container"):
            self.apply(
                ContainerSubject(image.source, image.read_file("oci-layout", limits.DOCUMENT))
            )
        with self.collected("index"):
            self.apply(IndexSubject(image.index, image.token_raw is not None))
            self.refer(*image.index.manifests)
            # Documents come first: what they refer to must be known before a blob counts as one
            # that nothing refers to.
            files = self.check_payloads(image.payloads)
            self.check_next_generation(image.index)
            self.check_package(image.index.otaclient_package)
            self.check_resources(files, shallow=shallow)
        # Then nearly all was read.
        if not self.is_refused:
            with self.collected("container"):
                image.source.check_rest()

    def refer(self, *descriptors: Descriptor) -> None:
        self.referenced |= {descriptor.digest: descriptor.size for descriptor in descriptors}

    def check_payloads(self, payloads: Iterable[Payload]) -> tuple[FileTable, ...]:
        """Check documents and file table of each payload; return the tables that are readable."""
        opened: dict[Reading, FileTable] = {}
        for payload in payloads:
            self.counts["payloads"] = self.counts.get("payloads", 0) + 1
            with self.collected("manifest"):
                manifest = payload.manifest
                self.refer(manifest.config, manifest.file_table)
                with self.collected("config"):
                    self.check_config(payload)
                with self.collected("table"):
                    key = manifest.file_table.reading
                    if key not in opened:
                        opened[key] = payload.file_table
                        self.apply(FileTableSubject(payload.file_table))
                    table = opened[key]
                    with self.collected("config"):
                        self.apply(
                            LabelsSubject(f"config of {payload.name}", payload.config.labels, table)
                        )
        return tuple(opened.values())

    def check_config(self, payload: Payload) -> None:
        config = payload.config
        self.apply(DocumentsSubject(payload.name, payload.descriptor, payload.manifest, config))
        if config.sys_config is not None:
            self.refer(config.sys_config)
            with self.collected("sys-config"):
                self.apply(read_sys_config_of(payload))

    def check_next_generation(self, index: Index) -> None:
        """Check documents and blobs of partition-based payloads and of an update agent package."""
        for descriptor in index.partition_payloads:
            self.counts["payloads"] = self.counts.get("payloads", 0) + 1
            with self.collected("partition"):
                payload = read_partition_payload(self.image, descriptor)
                self.refer(payload.config, *payload.layers)
                self.check_layers("partition", payload.layers)
        if index.update_agent is not None:
            with self.collected("update-agent"):
                layers = read_update_agent(self.image, index.update_agent).layers
                self.refer(*layers)
                self.check_layers("update-agent", layers)

    def check_layers(self, rule: str, layers: Iterable[Descriptor]) -> None:
        for layer in layers:
            with self.collected(rule):
                check_layer(self.image, layer)

    def check_package(self, descriptor: Descriptor | None) -> None:
        package = None
        with self.collected("otaclient"):
            package = None if descriptor is None else read_package(self.image, descriptor)
        if package is not None:
            manifest, _ = package
            self.apply(manifest)
            self.refer(manifest.config, *manifest.layers)
            self.check_layers("otaclient", manifest.layers)
        with self.collected("legacy"):
            notes = check_legacy(self.image, package, self.signer)
            self.findings.extend(
                replace(Finding.of_error("legacy", note), severity="note") for note in notes
            )

    def check_resources(self, files: tuple[FileTable, ...], *, shallow: bool) -> None:
        image = self.image
        stored, is_listed = image.blobs.stored() or {}, image.source.lists_blobs
        with self.collected("resources"):
            if image.index.has_resource_table:
                size_of = image.blobs.size_of or (stored.get if is_listed else None)
                self.check_contents(files, size_of, shallow=shallow)
            else:
                self.contents_checked = True
            # Those that belong to the image will be there, or are missing when they are read.
            if not is_listed:
                stored = self.referenced | (
                    image.resources.leaves() if image.index.has_resource_table else {}
                )
            if is_listed or not self.may_refer_to_more():
                self.apply(StoredSubject(image.index, stored, self.unreferenced(stored)))
        self.hash_rest(stored)
        self.counts |= {"blobs": len(stored), "bytes": sum(stored.values())}

    def check_contents(
        self, files: tuple[FileTable, ...], size_of: SizeOf | None, *, shallow: bool
    ) -> None:
        resources = self.image.resources
        needed = NeededSubject(resources, files)
        self.apply(ResourcesSubject(resources, size_of))
        self.apply(*(JoinSubject(table, resources) for table in files))
        # An unread table may need any.
        if not any(finding.rule in _PAYLOAD_TABLE for finding in self.findings):
            self.apply(needed)
        if not shallow:
            with self.collected("content"):
                self.rebuild_contents(needed)

    def unreferenced(self, stored: Iterable[bytes]) -> list[bytes]:
        """Return the blobs that nothing refers to; none if a document that might is unreadable."""
        if self.may_refer_to_more():
            return []
        leaves = self.image.resources.leaves() if self.image.index.has_resource_table else {}
        return [
            digest for digest in stored if digest not in self.referenced and digest not in leaves
        ]

    def may_refer_to_more(self) -> bool:
        """Whether a document that may refer to a blob is unreadable."""
        return any(finding.rule in _DOCUMENTS for finding in self.findings)

    def rebuild_contents(self, needed: NeededSubject) -> None:
        """Rebuild every content of a file; this verifies what it is made of.

        A resource that no payload needs is a note and is not rebuilt: its blobs are hashed with the
        rest.

        Raises:
            BoundsError: they exceed the bounds of the image.
        """
        sizes = [row.size for row in needed.contents.rows()]
        self.counts |= {"contents": len(sizes), "content-bytes": sum(sizes)}
        self.image.blobs.budget.check_size(sum(sizes), NAME)
        self.tally.total += sum(sizes)

        def deliver(_: GroupMember[ResourceRow], open_content: Opener) -> None:
            for chunk in open_content():
                self.tally.add(len(chunk))

        # Rows that cannot be resolved are already findings (resources.filters).
        groups = needed.resources.groups(
            lambda row: row if row.resource_id in needed.contents else None,
            on_error=lambda _: None,
            by_blob=self.image.blobs.are_joined,
        )
        with self.gathered("content") as on_error:
            rebuild(groups, self.image.blobs, deliver, on_error=on_error)
        self.contents_checked = True

    def hash_rest(self, stored: Mapping[bytes, int]) -> None:
        """Hash the stored blobs that nothing has read to the end yet."""
        # A server that does not tell sizes could send without end: there, the size that the tables
        # claim is the bound.
        is_bounded = self.image.source.knows_sizes
        rest = [
            Blob(digest, size) for digest, size in stored.items() if digest not in self.verified
        ]
        self.tally.total += sum(size for _, size in rest)

        def work(batch: Sequence[Blob], stop: threading.Event) -> None:
            for digest, size in batch:
                if stop.is_set():
                    return
                try:
                    for chunk in self.image.blobs.stream(digest, None if is_bounded else size):
                        self.tally.add(len(chunk))
                except OtabuildError as error:
                    on_error(error)

        with (
            self.gathered("blob") as on_error,
            self.image.blobs.fetching(batches(rest), iter) as fetched,
        ):
            run_parallel(work, fetched)
