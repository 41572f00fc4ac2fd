"""Applies the lint rules to a recipe before anything is built."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

from otabuild.errors import Finding
from otabuild.findings import findings_of
from otabuild.format import limits
from otabuild.format.annotations import PLATFORM
from otabuild.format.sys_config import parse_sys_config
from otabuild.image.image import Image
from otabuild.lint.device_rules import (
    SYSTEM_FOLDERS,
    FstabSubject,
    RunningSystem,
    SystemSubject,
    WholeSubject,
    is_jetson,
    kernels_of,
)
from otabuild.lint.lint import (
    HEAD,
    CertificatesSubject,
    LeftOutSubject,
    PathSubject,
    ReleaseKeysSubject,
    Row,
    SysConfigKeysSubject,
    TimeSubject,
    UmaskSubject,
    has_head,
    lint_tree,
)
from otabuild.lint.lint_image import base_modes, payload_of, system_of
from otabuild.pipeline.retry import retry
from otabuild.pipeline.rootfs_system import system_of as scanned_system
from otabuild.pipeline.sealed_archives import sealed_archives
from otabuild.pipeline.settings import rootfs_options
from otabuild.pipeline.trust_settings import trust_policy
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.model import PayloadRecipe, Recipe
from otabuild.recipe.named_files import naming_key
from otabuild.rootfs.content import load_content, with_digest
from otabuild.rootfs.entry import Content, Entry
from otabuild.rootfs.scan import release_files, scan
from otabuild.signing.chain import load_chain
from otabuild.storage.files import read_file


def lint_recipe(
    recipe: Recipe, workspace: Workspace, base: Image | None = None
) -> Iterator[Finding]:
    """Find what will cause trouble on the device with the image of a recipe.

    Args:
        recipe: the recipe to check; its rootfs are scanned as in a build.
        workspace: the workspace of the build; indexes of archives are kept there.
        base: the image that devices run now.

    Raises:
        InputError: an input cannot be read, or the build would not accept it.
        OtabuildError: the base is invalid, or a certificate or revocation list cannot be read.
    """
    keys = frozenset(key for payload in recipe.payloads for key in payload.release_keys)
    yield from findings_of(ReleaseKeysSubject(recipe.file, keys))
    yield from findings_of(
        TimeSubject(f"{recipe.file}: timestamp", recipe.timestamp, workspace.now)
    )
    if recipe.sign is not None:
        with naming_key(recipe):
            certificates = load_chain(recipe.sign.certificate, recipe.sign.chain)
            policy = trust_policy(recipe.verify) if recipe.verify else None
        yield from findings_of(CertificatesSubject(certificates, workspace.now))
        yield from findings_of(PathSubject(certificates, policy, workspace.now))
    for payload in recipe.payloads:
        if payload.sys_config is not None:
            config = parse_sys_config(read_file(payload.sys_config), payload.sys_config)
            yield from findings_of(SysConfigKeysSubject(payload.sys_config, config))
    for name in recipe.rootfs:
        yield from retry(workspace, partial(_lint_rootfs, recipe, name, workspace, base))


def _lint_rootfs(
    recipe: Recipe, name: str, workspace: Workspace, base: Image | None
) -> list[Finding]:
    options = rootfs_options(recipe.rootfs[name])
    # What cannot be stored is a finding: the scan must not end at the first of it.
    tolerant = options if options.unsupported == "skip" else replace(options, unsupported="warn")
    with sealed_archives(workspace) as archives, naming_key(recipe, "rootfs", name):
        result = scan(tolerant, euid=os.geteuid(), work=archives)
        entries = list(result.entries)
        system = _system(entries)
        fstab = b"".join(
            load_content(e.content) for e in entries if e.path == "/etc/fstab" and e.content
        )
        umask = UmaskSubject(f"rootfs {name}", tuple(_made_with_umask(entries)))
    rows = [_row(entry) for entry in entries]
    found = [findings_of(umask)]
    if options.unsupported != "skip":
        found += [findings_of(LeftOutSubject(f"rootfs {name}", tuple(result.notes.left_out)))]
    payloads = [payload for payload in recipe.payloads if payload.rootfs == name]
    found += [findings_of(_subject(recipe, payload, system, base)) for payload in payloads]
    is_whole = not options.whole or any(entry.path in SYSTEM_FOLDERS for entry in entries)
    found += [findings_of(WholeSubject(f"rootfs {name}", is_whole))]
    found += [findings_of(FstabSubject(f"rootfs {name}", fstab))]
    # Payloads that share a rootfs may have had different ones in the base; whatever is new for one
    # is reported.
    users = [(payload.ecu, key) for payload in payloads for key in payload.release_keys]
    different = {pair: modes for modes, pair in (base_modes(base, *user) for user in users)}
    for modes in different.values():
        found += [lint_tree(rows, f"rootfs {name}", modes, recipe.rootfs[name].architecture)]
    return list(dict.fromkeys(chain.from_iterable(found)))


def _system(entries: list[Entry]) -> RunningSystem:
    found = scanned_system(release_files(entries))
    return RunningSystem(
        found.os, found.os_version, kernels_of(entry.path for entry in entries), found.bsp_version
    )


def _subject(
    recipe: Recipe, payload: PayloadRecipe, system: RunningSystem, base: Image | None
) -> SystemSubject:
    said = (recipe.index_annotations.get(PLATFORM), payload.hardware.model, payload.hardware.series)
    before = None if base is None else payload_of(base, payload.ecu, payload.release_keys[0])
    return SystemSubject(
        f"payload {payload.ecu}",
        system,
        is_jetson(*said),
        None if before is None else system_of(before),
    )


def _made_with_umask(entries: Sequence[Entry]) -> Iterator[tuple[str, int, str | None]]:
    """Yield files of root that others may write to, and that clients make with their umask.

    They are empty, inlined, or not the first file of their content. Only contents that may be equal
    are read.
    """
    # The first file of a content need not be one of those that others may write to, so all of such
    # a size count.
    wanted = {
        entry.path
        for entry in entries
        if entry.content and not (entry.uid or entry.gid) and entry.mode & 0o022
    }
    sizes = {entry.content.size for entry in entries if entry.content and entry.path in wanted}
    first: dict[bytes | None, Entry] = {}
    for entry in entries:
        content = entry.content
        if content is None or content.size not in sizes:
            continue
        known, is_made = None, content.size <= limits.INLINE
        if not is_made:
            known = first.setdefault(content.digest or with_digest(content).digest, entry)
            is_made = known is not entry and (entry.link is None or known.link != entry.link)
        if is_made and entry.path in wanted:
            yield entry.path, entry.mode, known and known.path


def _row(entry: Entry) -> Row:
    head = partial(_head, entry.content) if entry.content and has_head(entry.path) else None
    return Row(entry.path, entry.mode, head)


def _head(content: Content) -> bytes:
    return load_content(content)[:HEAD]
