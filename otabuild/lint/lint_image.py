"""Applies the lint rules to an image."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from otabuild.errors import Finding, InputError
from otabuild.findings import findings_of
from otabuild.format import annotations as ann
from otabuild.format import limits
from otabuild.format.digest import Reading
from otabuild.format.index import Index, payload_id
from otabuild.format.index_jwt import NAME, parse_index_jwt
from otabuild.format.sys_config import read_sys_config
from otabuild.image.blobs import Chunk
from otabuild.image.image import Image, Payload
from otabuild.image.otaclient_package import read_package
from otabuild.image.rebuild import Opener, rebuild
from otabuild.image.resources import GroupMember
from otabuild.image.tables import REGULARS, FileEntry
from otabuild.lint.device_rules import (
    MODULES,
    SYSTEM_FOLDERS,
    FstabSubject,
    MemorySubject,
    RunningSystem,
    SystemSubject,
    WholeSubject,
    is_jetson,
    kernels_of,
)
from otabuild.lint.lint import (
    HEAD,
    PROGRAMS,
    CertificatesSubject,
    EntriesSubject,
    ReleaseKeysSubject,
    Row,
    SysConfigKeysSubject,
    TimeSubject,
    UmaskSubject,
    has_head,
    lint_tree,
)
from otabuild.signing.certificates import token_certificates

# Files of root that others may write to, and that are empty, inlined, or not the first file of
# their content: path, mode, and that first file. SQLite takes the inode from the row of the
# smallest path, and has no octal numbers: 18 is 0o022.
_MADE_WITH_UMASK = """SELECT own.path, mode, CASE WHEN contents IS NULL THEN first.path END
    FROM ft_regular AS own JOIN ft_inode USING (inode_id) JOIN ft_resource USING (resource_id)
    JOIN (SELECT resource_id, min(path) AS path, inode_id FROM ft_regular
        GROUP BY resource_id) AS first USING (resource_id)
    WHERE uid = 0 AND gid = 0 AND mode & 18 <> 0
        AND (contents IS NOT NULL OR own.inode_id <> first.inode_id)
    ORDER BY own.path"""


def lint_image(image: Image, now: int, base: Image | None = None) -> Iterator[Finding]:
    """Find what will cause trouble on the device.

    Args:
        image: the image to check.
        now: Unix seconds.
        base: the image that devices run now; payloads are compared with those of the same ECU and
            release key.

    Raises:
        OtabuildError: one of the images is invalid.
    """
    yield from findings_of(ReleaseKeysSubject(image.path, _release_keys(image.index)))
    yield from findings_of(EntriesSubject(image.path, image.index))
    if image.token_raw is not None:
        token = parse_index_jwt(image.token_raw, compat=True)
        yield from findings_of(TimeSubject(NAME, token.issued_at, now))
        yield from findings_of(CertificatesSubject(token_certificates(token), now))
    seen: set[tuple[Reading, Reading | None]] = set()
    for payload in image.payloads:
        if payload.sys_config is not None:
            config, _ = read_sys_config(payload.sys_config, f"sys_config of {payload.name}")
            yield from findings_of(SysConfigKeysSubject(f"{payload.name}: sys_config", config))
        yield from findings_of(memory_of(payload))
        before = None if base is None else payload_of(base, payload.ecu, payload.release_key)
        yield from findings_of(_system_subject(payload, before))
        modes, pair = base_modes(base, payload.ecu, payload.release_key)
        tables = payload.manifest.file_table.reading, pair
        if tables not in seen:  # several payloads can share a rootfs
            seen.add(tables)
            made = payload.file_table.database.query(_MADE_WITH_UMASK)
            yield from findings_of(UmaskSubject(payload.name, tuple(made)))
            is_whole = any(payload.file_table.find(folder) for folder in SYSTEM_FOLDERS)
            yield from findings_of(WholeSubject(payload.name, is_whole))
            yield from findings_of(FstabSubject(payload.name, _fstab(payload)))
            yield from lint_tree(
                _rows(image, payload), payload.name, modes, payload.config.architecture
            )


def _release_keys(index: Index) -> frozenset[str]:
    return frozenset(payload_id(found)[1] for found in (*index.payloads, *index.partition_payloads))


def base_modes(
    base: Image | None, ecu: str, release_key: str
) -> tuple[dict[str, int] | None, Reading | None]:
    """Return the st_mode of every path of a payload of the base, and how its file table is read.

    Both are None without a base. A payload that is missing in the base has no paths.
    """
    if base is None:
        return None, None
    payload = payload_of(base, ecu, release_key)
    if payload is None:
        return {}, None
    modes = {entry.path: entry.mode for entry in payload.entries()}
    return modes, payload.manifest.file_table.reading


def payload_of(base: Image, ecu: str, release_key: str) -> Payload | None:
    """Return the payload of an image that devices run now, or None."""
    return next(
        (each for each in base.payloads if (each.ecu, each.release_key) == (ecu, release_key)), None
    )


def system_of(payload: Payload) -> RunningSystem:
    """Return what a payload says of the system in it."""
    config = payload.config
    modules = payload.file_table.select(REGULARS, "WHERE path GLOB ?", (MODULES,))
    return RunningSystem(
        config.os,
        config.os_version,
        kernels_of(each.path for each in modules),
        config.labels.get(ann.BSP_VERSION),
    )


def _system_subject(payload: Payload, base: Payload | None) -> SystemSubject:
    said = [*payload.image.index.annotations.items(), *payload.manifest.annotations.items()]
    facts = [
        text for key, text in said if key in (ann.PLATFORM, ann.HARDWARE_MODEL, ann.HARDWARE_SERIES)
    ]
    is_for_jetson = (
        is_jetson(*facts) or payload.file_table.find("/etc/nv_tegra_release") is not None
    )
    return SystemSubject(
        payload.name, system_of(payload), is_for_jetson, None if base is None else system_of(base)
    )


def memory_of(payload: Payload) -> MemorySubject:
    """Return what a client holds in memory for a payload.

    It takes one client package at most, so the largest counts.
    """
    image, package = payload.image, 0
    if image.index.otaclient_package is not None:
        package = max(
            layer.size for layer in read_package(image, image.index.otaclient_package)[0].layers
        )
    tables = {
        "file table": (payload.manifest.file_table.size, payload.file_table.database.size),
        "resource table": (image.index.resource_table.size, image.resources.database.size),
    }
    return MemorySubject(payload.name, tables, package)


def _fstab(payload: Payload) -> bytes:
    try:
        with payload.open("/etc/fstab") as file:
            return file.read(limits.MIB)
    except InputError:  # there is none
        return b""


def _rows(image: Image, payload: Payload) -> Iterator[Row]:
    heads = _heads(image, payload)
    for entry in payload.entries():
        head = (
            heads.get(entry.digest) if has_head(entry.path) and entry.digest is not None else None
        )
        yield Row(entry.path, entry.mode, None if head is None else partial(bytes, head))


def _heads(image: Image, payload: Payload) -> dict[bytes, bytes]:
    """Return the first bytes of every file that lint reads, by digest; each bundle is read once."""
    wanted: dict[bytes, FileEntry] = {}
    condition = f"WHERE path GLOB '*.pyc' OR path IN ({', '.join('?' * len(PROGRAMS))})"
    for entry in payload.file_table.select(REGULARS, condition, PROGRAMS):
        assert entry.digest is not None
        wanted[entry.digest] = entry
    heads = {
        digest: entry.contents for digest, entry in wanted.items() if entry.contents is not None
    }

    def deliver(member: GroupMember[bytes], opener: Opener) -> None:
        heads[member.use] = _head(opener())

    rebuild(image.resources.groups_of(wanted), image.blobs, deliver)
    return heads


def _head(chunks: Iterator[Chunk]) -> bytes:
    """Return the first bytes of a content after reading, and so verifying, it to its end."""
    head = b""
    for chunk in chunks:
        head += bytes(chunk[: HEAD - len(head)])
    return head
