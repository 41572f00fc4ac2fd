"""Images of early releases of the reference builder: refused, and read by whoever asks for compatibility."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from otabuild.cli import main
from otabuild.deployment.deploy import deploy
from otabuild.deployment.deploy_tar import deploy_tar
from otabuild.errors import OtabuildError
from otabuild.image.image import open_image
from otabuild.verification.verify import verify
from tests import pki
from tests.image import forge, worlds
from tests.image.forge import Mutation, sha256

TOOL = hashlib.sha256(forge.TEXT).hexdigest()


def plain_frame(data: bytes, *, with_size: bool = False) -> bytes:
    """Return a frame without a checksum and, unless told otherwise, without the size of its content."""
    compressor = zstandard.ZstdCompressor(level=3, write_content_size=with_size)
    return compressor.compress(data) if with_size else b"".join(compressor.read_to_iter(data))


def reframed(frame: bytes) -> bytes:
    return plain_frame(zstandard.ZstdDecompressor().decompressobj().decompress(frame))


def early_resource_table(table: sqlite3.Connection) -> None:
    rows = table.execute("SELECT * FROM rs_manifest").fetchall()
    table.execute("DROP TABLE rs_manifest")
    table.execute(
        "CREATE TABLE rs_manifest (resource_id INTEGER PRIMARY KEY,digest BLOB NOT NULL,"
        "size INTEGER NOT NULL,filter_applied BLOB,meta BLOB)"
    )
    table.execute("CREATE INDEX rst_digest_idx ON rs_manifest (digest)")
    table.executemany("INSERT INTO rs_manifest VALUES (?,?,?,?,?)", rows)


def without_links(table: sqlite3.Connection) -> None:
    table.execute("UPDATE ft_inode SET links_count = NULL")


def plain_contents(stage: tuple[dict[int, list[Any]], dict[bytes, bytes]]) -> None:
    rows, leaves = stage
    for number, content in ((10, b"".join(forge.MEMBERS)), (11, forge.TEXT)):
        del leaves[rows[number][1]]
        leaf = plain_frame(content, with_size=True)
        rows[number][1:3] = sha256(leaf), len(leaf)
        leaves[sha256(leaf)] = leaf


def with_old_sys_config(descriptor: dict[str, Any]) -> None:
    descriptor["mediaType"] = f"{forge.OTA}.config.v1+yaml"


def pem_token(token: bytes) -> bytes:
    claims = json.loads(base64.urlsafe_b64decode(token.split(b".")[1] + b"=="))
    return pki.token(pki.header(x5c=[party.pem.decode() for party in (pki.signer(), pki.intermediate())]), claims)


TO_0_10: dict[str, Mutation] = {"resource_table": early_resource_table, "file_table": without_links}
FRAMES: dict[str, Mutation] = {"resource_table_frame": reframed, "file_table_frame": reframed}
CASES: dict[str, dict[str, Mutation]] = {
    "0.10": TO_0_10,
    "0.9": {
        **TO_0_10,
        **FRAMES,
        "resources": plain_contents,
        "sys_config_descriptor": with_old_sys_config,
    },
    "no links": {"file_table": without_links},
    "not unique": {"resource_table": early_resource_table},
    "frames of tables": FRAMES,
    "frames of contents": {"resources": plain_contents},
}


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
