"""A valid image verifies without findings and deploys to exactly its tree; so do images of the reference builder."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import msgpack
import pytest

from otabuild.deployment.deploy import deploy
from otabuild.deployment.deploy_tar import deploy_tar
from otabuild.errors import MetaApplyError
from otabuild.image.image import open_image
from otabuild.signing.trust import TrustPolicy, load_anchors
from otabuild.verification.verify import verify
from tests import pki
from tests.image import forge, worlds
from tests.rootfs.trees import acl
from tests.shared import FIXTURES, REFERENCE, REFERENCE_ROOT, has_fixtures
from tests.verification.tampering import put, sql

gnu_tar = pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not here")


@pytest.fixture(params=["artifact", "directory"])
def good(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path: Path = getattr(forge.forge(), request.param)(tmp_path / "image")
    return path


def test_good_image_has_no_finding(good: Path) -> None:
    report = worlds.verified(good, strict=True)
    assert report.findings == ()
    assert report.ok
    assert report.signature is not None


@pytest.mark.parametrize("shallow", [False, True])
def test_a_report_counts_what_was_read(shallow: bool, tmp_path: Path) -> None:
    forged = forge.forge(second=lambda _: None)
    blobs = [len(data) for name, data in forged.files if name.startswith("blobs/sha256/") and data]
    contents = [size for _, _, size, inlined in forge.file_rows()["ft_resource"] if size and inlined is None]
    report = worlds.verified(forged.artifact(tmp_path / "image"), shallow=shallow)
    due = {"payloads": 2, "blobs": len(blobs), "bytes": sum(blobs)}
    assert report.counts == due | ({} if shallow else {"contents": len(contents), "content-bytes": sum(contents)})
    assert (report.shallow, report.contents_checked) == (shallow, not shallow)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("UPDATE ft_inode SET mode = 0 WHERE inode_id = 12", "table.inode"),
        ("INSERT INTO ft_resource VALUES (99, zeroblob(32), 6, NULL)", "resources.contents"),
        ("DELETE FROM ft_non_regular", "config.labels"),
    ],
)
def test_each_payload_has_a_table_of_its_own(change: str, rule: str, tmp_path: Path) -> None:
    """The first payload's table is right; whoever takes it for the second's finds nothing."""
    raw = forge.database(forge.FILE_TABLE_SQL, forge.file_rows(), sql(change))
    blob = forge.frame(raw)
    table = {
        "mediaType": f"{forge.OTA}.file_table.v1.sqlite3+zstd",
        "digest": forge.digest_text(blob),
        "size": len(blob),
    }
    forged = forge.forge(
        second=lambda _: table,
        blob_files=lambda files: files | {f"blobs/sha256/{forge.sha256(blob).hex()}": blob},
    )
    assert rule in worlds.errors_of(forged.artifact(tmp_path / "image"))


def test_two_payloads_of_one_file_table_have_no_finding(tmp_path: Path) -> None:
    report = worlds.verified(forge.forge(second=lambda _: None).artifact(tmp_path / "image"), strict=True)
    assert report.findings == ()
    assert report.counts["payloads"] == 2


def test_report_is_json(good: Path) -> None:
    report = worlds.verified(good, shallow=True)
    assert report.signature is not None
    value = json.loads(json.dumps(report.to_value()))
    assert set(value.pop("counts")) == {"payloads", "blobs", "bytes"}
    assert value == {
        "ok": True,
        "image": str(good),
        "shallow": True,
        "contents-checked": False,
        "strict": False,
        "signature": json.loads(json.dumps(report.signature.to_value())),
        "findings": [],
    }


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
@pytest.mark.root
@pytest.mark.skipif(not worlds.IS_ROOT, reason="needs root")
def test_deployed_tree_is_exact(good: Path, tmp_path: Path, umask: int) -> None:
    (tmp_path / "out").mkdir()
    before = os.umask(umask)
    try:
        tree = worlds.deployed(good, tmp_path / "out" / "tree")
    finally:
        os.umask(before)
    assert tree == worlds.expected_tree()
    assert os.listdir(tmp_path / "out") == ["tree"]


@gnu_tar
@pytest.mark.root
@pytest.mark.skipif(not worlds.IS_ROOT, reason="needs root")
def test_tar_unpacked_by_gnu_tar_is_exact(good: Path, tmp_path: Path) -> None:
    with open_image(good) as image:
        deploy_tar(image.payload("main"), tmp_path / "tree.tar", forge.policy(), pki.NOW)
    unpack(tmp_path / "tree.tar", tmp_path / "tree")
    assert worlds.describe(tmp_path / "tree") == worlds.expected_tree()


def unpack(tar: Path, target: Path) -> None:
    target.mkdir()
    subprocess.run(["tar", "--xattrs", "--xattrs-include=*", "-xpf", tar, "-C", target], check=True)


def test_tar_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    made = []
    for name in ("artifact", "directory"):
        path = getattr(forge.forge(), name)(tmp_path / name)
        with open_image(path) as image:
            deploy_tar(image.payload("main"), tmp_path / f"{name}.tar", forge.policy(), pki.NOW)
        made.append((tmp_path / f"{name}.tar").read_bytes())
    assert made[0] == made[1]


def test_progress_ends_at_the_total(good: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with open_image(good) as image:
        verify(image, forge.policy(), pki.NOW, progress=lambda done, total: seen.append((done, total)))
        assert seen[-1][0] == seen[-1][1]
        seen.clear()
        deploy_tar(
            image.payload("main"),
            tmp_path / "t.tar",
            forge.policy(),
            pki.NOW,
            progress=lambda done, total: seen.append((done, total)),
        )
    assert seen[-1][0] == seen[-1][1] > 0


@pytest.mark.parametrize("xattrs", [{"user": b"x"}, {"user.": b"x"}, {"user.a": bytes(70_000)}], ids=["a", "b", "c"])
def test_attributes_that_a_system_may_not_take_are_legal(xattrs: dict[str, bytes], tmp_path: Path) -> None:
    change = sql(("UPDATE ft_inode SET xattrs = ? WHERE inode_id = 12", (msgpack.packb(xattrs),)))
    path = forge.forge(file_table=change).artifact(tmp_path / "image.zip")
    assert worlds.verified(path, strict=True).ok
    assert worlds.deploy_error(path, tmp_path / "tree.tar") is None
    with pytest.raises(MetaApplyError):
        worlds.deployed(path, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_another_file_table_is_told_by_what_differs(tmp_path: Path) -> None:
    path = forge.forge(config=put("file_table|size", 1)).artifact(tmp_path / "image.zip")
    (finding,) = worlds.verified(path).findings
    assert finding.rule == "config.file-table"
    assert finding.observed == "{'size': 1}"


WIDEST = acl((0x01, 6), (0x02, 7), (0x04, 0), (0x10, 7), (0x20, 4))


@pytest.mark.root
@pytest.mark.skipif(not worlds.IS_ROOT, reason="needs root")
@pytest.mark.parametrize(
    "value",
    [WIDEST, acl((0x01, 6), (0x04, 4), (0x20, 4)), acl((0x01, 6), (0x04, 6), (0x20, 4))],
    ids=["wider", "mode only", "wider, mode only"],
)
def test_d7_an_access_control_list_never_changes_a_mode_in_silence(value: bytes, tmp_path: Path) -> None:
    path = forge.forge(file_table=_with_acl(value, 0o644)).artifact(tmp_path / "image.zip")
    report = worlds.verified(path)
    assert [(finding.rule, finding.severity) for finding in report.findings] == [("table.acl", "note")]
    assert worlds.deploy_error(path, tmp_path / "tree.tar") is None
    with pytest.raises(MetaApplyError):
        worlds.deployed(path, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize(
    "value",
    [WIDEST[:-1], b"\1" + WIDEST[1:], acl((0x01, 6), (0x04, 4), (0x10, 4), (0x20, 12))],
    ids=["torn", "version", "bits"],
)
def test_an_access_control_list_that_no_linux_takes_is_refused(value: bytes, tmp_path: Path) -> None:
    path = forge.forge(file_table=_with_acl(value, 0o644)).artifact(tmp_path / "image.zip")
    assert ("table.xattrs", "error") in [(found.rule, found.severity) for found in worlds.verified(path).findings]
    for target in ("tree.tar", "tree"):
        assert worlds.deploy_error(path, tmp_path / target) == "TableError"
        assert not (tmp_path / target).exists()


@pytest.mark.root
@pytest.mark.skipif(not worlds.IS_ROOT, reason="needs root")
def test_d7_an_access_control_list_that_goes_with_the_mode_is_kept(tmp_path: Path) -> None:
    path = forge.forge(file_table=_with_acl(WIDEST, 0o674)).artifact(tmp_path / "image.zip")
    assert worlds.verified(path, strict=True).ok
    tree = tmp_path / "tree"
    worlds.deployed(path, tree)
    assert stat.S_IMODE((tree / "etc/a").stat().st_mode) == 0o674
    assert os.getxattr(tree / "etc/a", "system.posix_acl_access") == WIDEST


def _with_acl(value: bytes, mode: int) -> forge.Mutation:
    xattrs = msgpack.packb({"system.posix_acl_access": value})
    return sql(("UPDATE ft_inode SET xattrs = ?, mode = ? WHERE inode_id = 12", (xattrs, stat.S_IFREG | mode)))


def reference() -> TrustPolicy:
    return TrustPolicy(anchors=load_anchors([str(REFERENCE_ROOT)]))


@has_fixtures
def test_reference_image_verifies() -> None:
    with open_image(REFERENCE) as image:
        report = verify(image, reference(), int(time.time()))
    assert report.ok
    rules = {"container.order", "manifest.artifact-type", "otaclient.artifact-type"}
    assert {finding.rule for finding in report.findings} == rules


@has_fixtures
@gnu_tar
@pytest.mark.root
@pytest.mark.skipif(not worlds.IS_ROOT, reason="needs root")
@pytest.mark.parametrize("key", ["dev", "prd"])
@pytest.mark.parametrize("as_tar", [False, True])
def test_reference_image_deploys_to_its_tree(tmp_path: Path, key: str, as_tar: bool) -> None:
    expected = json.loads((FIXTURES / f"reference-full.main-{key}.tree.json").read_text())
    with open_image(REFERENCE) as image:
        payload = image.payload("main", key)
        if as_tar:
            deploy_tar(payload, tmp_path / "tree.tar", reference(), int(time.time()))
            unpack(tmp_path / "tree.tar", tmp_path / "tree")
        else:
            deploy(payload, tmp_path / "tree", reference(), int(time.time()))
    assert as_fixture(worlds.describe(tmp_path / "tree")) == expected


def as_fixture(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a described tree in the form of the JSON fixtures."""
    found: dict[str, Any] = {}
    for path, facts in tree.items():
        mode = facts["mode"]
        entry: dict[str, Any] = {"type": oct(mode & 0o170000), "uid": facts["owner"][0], "gid": facts["owner"][1]}
        if "target" not in facts:
            entry["mode"] = oct(mode & 0o7777)
        for name in ("sha256", "target"):
            if name in facts:
                entry[name] = facts[name]
        if "device" in facts:
            entry["rdev"] = facts["device"]
        if facts["xattrs"]:
            entry["xattrs"] = {name: value.hex() for name, value in facts["xattrs"].items()}
        if len(facts.get("links", ())) > 1:
            entry["links"] = sorted(link.lstrip("/") for link in facts["links"])
        found[path.lstrip("/") or "."] = entry
    return found
