"""Images of early releases of the reference builder: refused, and read by whoever asks for compatibility."""

from __future__ import annotations

import hashlib
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from otabuild.cli import main
from otabuild.deployment.deploy import deploy
from otabuild.deployment.deploy_tar import deploy_tar
from otabuild.errors import OtabuildError
from otabuild.image.image import open_image
from otabuild.verification.verify import verify
from tests import pki
from tests.image import forge, worlds
from tests.image.early import CASES, FRAMES, early_resource_table, pem_token, plain_frame, reframed, with_old_sys_config

TOOL = hashlib.sha256(forge.TEXT).hexdigest()


@pytest.fixture(params=CASES)
def early(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return forge.forge(**CASES[request.param]).artifact(tmp_path / "image.zip")


def test_an_early_image_is_refused(early: Path, tmp_path: Path) -> None:
    assert worlds.errors_of(early)
    assert worlds.deploy_error(early, tmp_path / "tree.tar")


def test_an_early_image_is_read_on_request_with_notes(early: Path) -> None:
    with open_image(early, compat=True) as image:
        report = verify(image, forge.policy(), pki.NOW)
    assert report.ok
    assert report.findings
    assert {(finding.rule, finding.severity) for finding in report.findings} == {("compat", "note")}


def test_certificates_as_pem_are_noted(tmp_path: Path) -> None:
    path = forge.forge(token=pem_token).artifact(tmp_path / "image.zip")
    assert worlds.errors_of(path) == {"signature"}
    with open_image(path, compat=True) as image:
        report = verify(image, forge.policy(), pki.NOW)
    assert report.ok
    assert [(finding.rule, finding.severity) for finding in report.findings] == [("signature", "note")]


def test_the_first_media_type_of_sys_config_is_noted_on_request_only(tmp_path: Path) -> None:
    path = forge.forge(sys_config_descriptor=with_old_sys_config).artifact(tmp_path / "image.zip")
    for compat, notes in ((False, []), (True, [("compat", "note")])):
        with open_image(path, compat=compat) as image:
            report = verify(image, forge.policy(), pki.NOW)
        assert report.ok
        assert [(finding.rule, finding.severity) for finding in report.findings] == notes


@pytest.mark.parametrize("command", ["diff", "report", "lint"])
def test_the_first_media_type_of_sys_config_is_noted_by_whoever_reads_it(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(forge.forge(sys_config_descriptor=with_old_sys_config).artifact(tmp_path / "image.zip"))
    words = {"diff": [path], "report": ["-o", str(tmp_path / "p.html")], "lint": ["--ignore", "certificate-expires"]}
    assert main([command, path, *words[command], "--compat"]) == 0
    assert "the media type that it had at first" in capsys.readouterr().err


def test_a_good_image_has_no_note(tmp_path: Path) -> None:
    with open_image(forge.forge().artifact(tmp_path / "image.zip"), compat=True) as image:
        assert verify(image, forge.policy(), pki.NOW).findings == ()


def test_an_early_image_is_deployed_as_a_tar(early: Path, tmp_path: Path) -> None:
    with open_image(early, compat=True) as image:
        deploy_tar(image.payload("main"), tmp_path / "tree.tar", forge.policy(), pki.NOW)
    with tarfile.open(tmp_path / "tree.tar") as tar:
        for name in ("./bin/tool", "./bin/tool-again", "./etc/tool"):
            file = tar.extractfile(name)
            assert file is not None
            assert file.read() == forge.TEXT


def test_an_inode_without_links_is_deployed_as_clients_do(tmp_path: Path) -> None:
    path = forge.forge(**CASES["no links"]).artifact(tmp_path / "image.zip")
    with open_image(path, compat=True) as image:
        done = deploy(image.payload("main"), tmp_path / "tree", forge.policy(), pki.NOW, no_owner=True)
    tools = [tmp_path / "tree" / name for name in ("bin/tool", "bin/tool-again", "etc/tool")]
    assert [hashlib.sha256(tool.read_bytes()).hexdigest() for tool in tools] == [TOOL] * 3
    assert len({tool.stat().st_ino for tool in tools}) == 3
    assert done.inodes == len(forge.file_rows()["ft_inode"]) + 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda table: table.execute(
                "INSERT INTO rs_manifest SELECT 99, digest, size, NULL, NULL FROM rs_manifest LIMIT 1"
            ),
            "must be unique",
        ),
        (lambda table: table.execute("CREATE INDEX other ON rs_manifest (size)"), "schema"),
        (lambda table: table.execute("DROP INDEX rst_digest_idx"), "missing"),
    ],
)
def test_an_early_table_that_is_broken_as_well_is_refused(
    change: Callable[[sqlite3.Connection], object], said: str, tmp_path: Path
) -> None:
    def changed(table: sqlite3.Connection) -> None:
        early_resource_table(table)
        change(table)

    with open_image(forge.forge(resource_table=changed).artifact(tmp_path / "image.zip"), compat=True) as image:
        report = verify(image, forge.policy(), pki.NOW)
    assert not report.ok
    assert any(said in finding.what for finding in report.findings)


@pytest.mark.parametrize("damage", [lambda frame: frame[:-9], lambda frame: frame + b"more", lambda _: b"no frame"])
def test_an_early_frame_that_is_damaged_is_refused(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = forge.forge(file_table_frame=lambda frame: damage(reframed(frame))).artifact(tmp_path / "image.zip")
    with open_image(path, compat=True) as image, pytest.raises(OtabuildError):
        _ = image.payload("main").file_table


def test_an_early_frame_that_grows_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    path = forge.forge(file_table_frame=lambda _: plain_frame(bytes(20 << 20))).artifact(tmp_path / "image.zip")
    with open_image(path, compat=True) as image, pytest.raises(OtabuildError, match="content too large"):
        _ = image.payload("main").file_table


@pytest.mark.parametrize("command", ["diff", "cost", "report", "lint", "verify-resources", "ls", "deploy-image", "cat"])
def test_commands_read_an_early_image_on_request(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(forge.forge(**CASES["0.9"]).artifact(tmp_path / "image.zip"))
    ecu = ["--ecu-id", "main"]
    words = {
        "diff": [path, str(forge.forge(**FRAMES).artifact(tmp_path / "other.zip"))],
        "cost": [path, path, *ecu],
        "report": [path, "-o", str(tmp_path / "page.html")],
        "lint": [path, "--ignore", "certificate-expires"],
        "verify-resources": [path],
        "ls": [path, *ecu, "/etc"],
        "cat": [path, *ecu, "/bin/tool"],
        "deploy-image": ["--image", path, *ecu, "--to-tar", str(tmp_path / "t.tar"), "--insecure-no-verify"],
    }[command]
    assert main([command, *words]) == 1
    capsys.readouterr()
    assert main([command, *words, "--compat"]) == 0
    assert f"note: {path}: " in capsys.readouterr().err
