"""The content of a report on an image, as data; `report_page.py` makes a page of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from otabuild.comparison.cost import Cost, cost
from otabuild.comparison.diff import Diff, diff
from otabuild.errors import InputError, OtabuildError, StorageError
from otabuild.format.digest import Reading, format_digest
from otabuild.format.index_jwt import parse_index_jwt
from otabuild.image.image import Image, Payload
from otabuild.report.usage import Usage, usage
from otabuild.signing.authenticity import check_index_jwt
from otabuild.signing.certificates import Certificate, token_certificates


@dataclass(frozen=True, slots=True)
class Identity:
    """Which image it is: path, annotations, and the SHA-256 of the artifact or the index.json."""

    path: str
    annotations: dict[str, object]
    is_artifact: bool
    digest: str


@dataclass(frozen=True, slots=True)
class SignatureFacts:
    """The content of an image's signature, and what is invalid in it.

    A report does not decide whom to trust.
    """

    chain: tuple[Certificate, ...]
    issued_at: int | None
    problems: tuple[OtabuildError, ...]


@dataclass(frozen=True, slots=True)
class ReportData:
    """The content of a report.

    Attributes:
        image: which image the report is on.
        base: the image that devices run now, if any.
        now: Unix seconds of the report.
        payloads: in the order of index.json.
        signature: None if the image is not signed.
        usage: where the bytes of each distinct rootfs are.
        diff: the difference to the base, if any.
        costs: of the update from the base, for each payload that both images have.
        problems: what could not be read or compared, and why; it is missing in the rest.
    """

    image: Identity
    base: Identity | None
    now: int
    payloads: tuple[Payload, ...]
    signature: SignatureFacts | None
    usage: tuple[Usage, ...]
    diff: Diff | None
    costs: tuple[tuple[str, Cost], ...]
    problems: tuple[tuple[str, OtabuildError], ...] = ()


def make_report(image: Image, base: Image | None = None, *, now: int) -> ReportData:
    """Collect the data of a report on an image. The image must stay open while the report is used.

    Args:
        image: the image to report on.
        base: the image that devices run now.
        now: Unix seconds.

    Raises:
        OtabuildError: one of the images is invalid, and not just a part that only some payloads
            need.
    """
    problems = _Problems()
    readable: list[Payload] = []
    by_table: dict[Reading, list[Payload]] = {}
    for payload in image.payloads:
        with problems.of(f"payload {payload.name}"):
            # Read now what the page shows of its documents, so that the page does not fail there.
            _ = payload.manifest, payload.config, payload.sys_config
            by_table.setdefault(payload.manifest.file_table.reading, []).append(payload)
            readable.append(payload)
    found: list[Usage] = []
    for payloads in by_table.values():
        with problems.of(f"rootfs of {', '.join(payload.name for payload in payloads)}"):
            found.append(usage(image, payloads))
    if problems.found and not found:
        raise problems.found[0][1]
    changes: Diff | None = None
    costs: tuple[tuple[str, Cost], ...] = ()
    if base is not None:
        changes = diff(
            base, image, on_error=lambda name, error: problems.add(f"changes of {name}", error)
        )
        costs = tuple(_costs(base, image, problems))
    return ReportData(
        _identity(image),
        None if base is None else _identity(base),
        now,
        tuple(readable),
        _signature(image, now),
        tuple(found),
        changes,
        costs,
        tuple(problems.found),
    )


class _Problems:
    """What could not be read, and why: a broken payload does not hide the others."""

    def __init__(self) -> None:
        self.found: list[tuple[str, OtabuildError]] = []

    def add(self, name: str, error: OtabuildError) -> None:
        self.found.append((name, error))

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        try:
            yield
        except StorageError:  # of this host
            raise
        except OtabuildError as error:
            self.add(name, error)


def _identity(image: Image) -> Identity:
    artifact = image.source.artifact_digest()
    digest = hashlib.sha256(image.index_raw).digest() if artifact is None else artifact
    return Identity(
        image.path, image.index.annotations, artifact is not None, format_digest(digest)
    )


def _signature(image: Image, now: int) -> SignatureFacts | None:
    if image.token_raw is None:
        return None
    _, problems = check_index_jwt(image.token_raw, image.index_raw, None, now, compat=True)
    try:
        token = parse_index_jwt(image.token_raw, compat=True)
    except OtabuildError:
        return SignatureFacts((), None, tuple(problems))
    return SignatureFacts(token_certificates(token), token.issued_at, tuple(problems))


def _costs(base: Image, image: Image, problems: _Problems) -> Iterable[tuple[str, Cost]]:
    for payload in image.payloads:
        try:
            base.payload(payload.ecu, payload.release_key)
        except InputError:
            continue
        with problems.of(f"cost of {payload.name}"):
            yield payload.name, cost(base, image, payload.ecu, payload.release_key)
