"""Converts the settings of a recipe for the lower layers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from otabuild.assembly.plan import PROFILES, StoragePlan
from otabuild.errors import OtabuildError
from otabuild.format import limits
from otabuild.format.otaclient import RELEASE_MANIFEST, Release
from otabuild.recipe.model import OtaclientRecipe, RootfsRecipe, StorageRecipe
from otabuild.recipe.sources import SourceRecipe
from otabuild.rootfs.inputs import Input, Owner
from otabuild.rootfs.scan import RootfsOptions
from otabuild.rootfs.set_rules import SetRule
from otabuild.storage import files


def storage_plan(storage: StorageRecipe) -> StoragePlan:
    """Return the numbers of a recipe's profile, overridden by those that the recipe sets."""
    profile = PROFILES[storage.profile]
    bundle_size = storage.bundle_size or profile.bundle_size
    member_max = storage.bundle_member_max or profile.bundle_member_max
    # The most of a bundle grows with its target, has room for each member, and is one leaf.
    return replace(
        profile,
        bundle_member_max=member_max,
        bundle_size=bundle_size,
        bundle_max=min(
            limits.LEAF, max(profile.bundle_max * bundle_size // profile.bundle_size, member_max)
        ),
        bundle_level=storage.bundle_level or profile.bundle_level,
        compress_level=storage.compress_level or profile.compress_level,
    )


def rootfs_options(rootfs: RootfsRecipe) -> RootfsOptions:
    """Return how to scan and prepare a rootfs."""
    default = _owner(rootfs.owner)
    return RootfsOptions(
        sources=tuple(_input(source, default, rootfs.architecture) for source in rootfs.sources),
        overlays=tuple(_input(source, default, rootfs.architecture) for source in rootfs.overlay),
        clean=rootfs.prepare.clean == "default",
        exclude=rootfs.prepare.exclude,
        stub_resolv_conf=rootfs.prepare.resolv_conf == "stub",
        drop_xattrs=rootfs.xattrs.drop,
        unsupported=rootfs.unsupported,
        one_file_system=rootfs.one_file_system,
        whole=not rootfs.partial,
        rules=tuple(
            SetRule(rule.path, rule.capability, rule.mode, _owner(rule.owner))
            for rule in rootfs.set
        ),
    )


def _input(source: SourceRecipe, default: Owner, architecture: str) -> Input:
    return source.input(default if source.owner is None else _owner(source.owner), architecture)


def _owner(owner: object) -> Owner:
    return (owner[0], owner[1]) if isinstance(owner, tuple) else None


def release_states(package: OtaclientRecipe) -> dict[str, list[int] | None]:
    """Return what shows that no file of an otaclient release changed, by path.

    It is empty if its manifest cannot be read.

    In that case, the step that reads the release reports the error.
    """
    manifest = os.path.join(package.release_dir, RELEASE_MANIFEST)
    try:
        release = Release.from_json(files.read_file(manifest, limits.DOCUMENT), manifest)
    except OtabuildError:
        return {}
    wanted = release.packages if package.legacy else release.squashfs
    paths = [os.path.join(package.release_dir, file.filename) for file in wanted]
    return {path: files.file_state(path) if os.path.lexists(path) else None for path in paths}


def input_hashes(paths: Iterable[str]) -> dict[str, str | None]:
    """Return the hex SHA-256 of small inputs; None for paths that are not files."""
    return {path: files.hash_file(path) if os.path.isfile(path) else None for path in paths}
