"""sign, sign-prepare, sign-finish and pki as a user runs them."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import zipfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from otabuild.cli import main
from tests import pki
from tests.image.forge import Mutation, forge
from tests.shell.projects import Ended, Project, answer, key_of, make_project
from tests.verification.tampering import put, sql

CERTIFICATE = ("--certificate", "pki/sign.pem", "--chain", "pki/intermediate.pem")


def verifies(project: Project, image: str = "dist/vehicle.zip") -> bool:
    return project.otabuild("verify", image, "--ca", "pki/root-ca.pem").code == 0


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A built project, for tests that do not change it."""
    project = make_project(tmp_path_factory.mktemp("built") / "product")
    project.build()
    return project


def outside(project: Project) -> None:
    project.edit("{file: ../pki/sign.key}", "external")


def test_demo_certificates(project: Project) -> None:
    made = project.otabuild("pki", "demo", "demo", "--json")
    assert made.code == 0
    assert "never sign a real image" in made.err
    paths = json.loads(made.out)["files"]
    assert {"demo/sign.pem", "demo/sign.key", "demo/root-ca.pem", "demo/intermediate.pem"} < set(paths)
    assert stat.S_IMODE((project.root / "demo/sign.key").stat().st_mode) == 0o600
    again = project.otabuild("pki", "demo", "demo")
    assert (again.code, "never overwritten" in again.err) == (1, True)


def test_a_key_is_made_certified_and_checked(project: Project) -> None:
    asked = ("pki", "request", "mine", "--subject", "CN=OTA release,O=Example")
    made = project.otabuild(*asked)
    assert (made.code, made.out.split()) == (0, ["mine/sign.key", "mine/sign.csr"])
    assert stat.S_IMODE((project.root / "mine/sign.key").stat().st_mode) == 0o600
    request = x509.load_pem_x509_csr((project.root / "mine/sign.csr").read_bytes())
    assert request.subject.rfc4514_string() == "CN=OTA release,O=Example"
    assert request.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    again = project.otabuild(*asked)
    assert (again.code, "never overwritten" in again.err) == (1, True)


@pytest.mark.parametrize("subject", ["", "OTA release", "/O=Example/CN=OTA release", "ZZ=1"])
def test_a_name_that_is_none(project: Project, subject: str) -> None:
    done = project.otabuild("pki", "request", "mine", "--subject", subject)
    assert (done.code, "not the name of a certificate" in done.err) == (1, True)
    assert not (project.root / "mine").exists()


CHECK = ("pki", "check", *CERTIFICATE, "--ca", "pki/root-ca.pem", "--key", "pki/sign.key")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ""),
        (
            {"pki/sign.pem": "other/intermediate.pem", "pki/sign.key": "other/intermediate.key"},
            "a CA certificate cannot sign",
        ),
        ({"pki/root-ca.pem": "other/root-ca.pem"}, "root"),
        ({"pki/sign.key": "other/sign.key"}, "the private key does not belong to this certificate"),
        ({"pki/intermediate.pem": "other/intermediate.pem"}, "not signed with the key of its issuer"),
    ],
)
def test_certificates_are_checked(project: Project, changed: dict[str, str], said: str) -> None:
    project.otabuild("pki", "demo", "other")
    done = project.otabuild(*(changed.get(word, word) for word in CHECK))
    assert (done.code, said in done.err) == (int(bool(said)), True), done.err
    assert ("clients would accept signatures of CN=DEMO sign" in done.out) == (not said)


@pytest.mark.parametrize("runner", ["doit", "otabuild"])
def test_a_recipe_is_signed_outside(project: Project, runner: str) -> None:
    outside(project)

    def run() -> Ended:
        return project.doit("build") if runner == "doit" else project.otabuild("build", "recipes/vehicle.yaml")

    stopped = run()
    said = stopped.out + stopped.err
    assert stopped.code == 1
    assert said.count("waiting for an external signature") == 1
    assert "otabuild sign-prepare recipes/vehicle.yaml" in said
    assert not project.artifact.exists()
    (prepared,) = json.loads(project.otabuild("sign-prepare", "recipes/vehicle.yaml", "--json").out)["requests"]
    assert prepared["request"] == "request.json"
    answer(project, "request.json", "answer.json")
    (project.root / "pki/sign.key").unlink()
    finished = project.otabuild(
        "sign-finish", "recipes/vehicle.yaml", "--answer", "answer.json", "--request", "request.json"
    )
    assert finished.code == 0, finished.err
    assert verifies(project)
    first = project.sha256
    again = run()
    assert again.code == 0
    assert project.sha256 == first
    nothing = project.otabuild("sign-prepare", "recipes/vehicle.yaml", "-o", "other.json")
    assert (nothing.code, "is there already" in nothing.err) == (0, True)
    assert not (project.root / "other.json").exists()


def test_a_stale_request_and_a_wrong_answer(project: Project) -> None:
    outside(project)
    assert project.otabuild("sign-prepare", "recipes/vehicle.yaml", "-o", "old.json").code == 0
    answer(project, "old.json", "answer.json")
    (project.root / "rootfs/etc/hostname").write_text("another\n")
    assert project.otabuild("sign-prepare", "recipes/vehicle.yaml").code == 0
    wrong = project.otabuild("sign-finish", "recipes/vehicle.yaml", "--answer", "answer.json", "--request", "old.json")
    assert (wrong.code, "the request is not for the last build" in wrong.err) == (1, True)
    wrong = project.otabuild("sign-finish", "recipes/vehicle.yaml", "--answer", "answer.json")
    assert (wrong.code, "sign-prepare" in wrong.err) == (1, True)
    assert not project.artifact.exists()


def test_a_stored_token_is_attached_to_a_clean_rebuild(project: Project) -> None:
    outside(project)
    project.otabuild("sign-prepare", "recipes/vehicle.yaml")
    answer(project, "request.json", "answer.json")
    project.otabuild("sign-finish", "recipes/vehicle.yaml", "--answer", "answer.json")
    released = project.sha256
    shutil.copy(project.root / "build/.otabuild/recipes/vehicle/index.jwt", project.root / "index.jwt")
    for name in ("build", "dist"):
        shutil.rmtree(project.root / name)
    assert project.otabuild("build", "recipes/vehicle.yaml").code == 1
    attached = project.otabuild("sign-finish", "recipes/vehicle.yaml", "--attach", "index.jwt")
    assert attached.code == 0, attached.err
    assert project.sha256 == released


def test_an_image_is_signed_anew(project: Project) -> None:
    project.build()
    before = project.sha256
    done = project.otabuild(
        "sign", "dist/vehicle.zip", *CERTIFICATE, "--key", "pki/sign.key", "--timestamp", "2025-06-01", "--json"
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)["signed-at"] == "2025-06-01T00:00:00Z"
    assert project.sha256 != before
    assert verifies(project)
    project.otabuild("sign", "dist/vehicle.zip", *CERTIFICATE, "--key", "pki/sign.key", SOURCE_DATE_EPOCH="1735689600")
    assert project.sha256 == before  # the time of the build


@pytest.mark.parametrize(
    "key", ["env:SIGN_KEY", "file:pki/encrypted.key", "command:openssl pkeyutl -sign -inkey pki/sign.key"]
)
def test_keys_on_the_command_line(project: Project, key: str) -> None:
    if key.startswith("command:") and shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    project.build()
    pem = key_of(project).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (project.root / "pki/encrypted.key").write_bytes(pem)
    passphrase = () if key.startswith("command:") else ("--passphrase", "env:PASSPHRASE")
    done = project.otabuild(
        "sign", "dist/vehicle.zip", *CERTIFICATE, "--key", key, *passphrase, "-o", "dist/new.zip",
        SIGN_KEY=pem.decode(), PASSPHRASE="secret",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert verifies(project, "dist/new.zip")


def test_an_image_is_signed_outside(project: Project) -> None:
    project.build()
    before = project.artifact.read_bytes()
    prepared = project.otabuild("sign-prepare", "dist/vehicle.zip", *CERTIFICATE, "--ca", "pki/root-ca.pem")
    assert prepared.code == 0, prepared.err
    answer(project, "request.json", "answer.json")
    (project.root / "pki/sign.key").unlink()
    assert project.artifact.read_bytes() == before
    finished = project.otabuild(
        "sign-finish", "dist/vehicle.zip", "--request", "request.json", "--answer", "answer.json"
    )
    assert finished.code == 0, finished.err
    assert project.artifact.read_bytes() != before
    assert verifies(project)


def test_a_token_is_attached_to_an_image(project: Project) -> None:
    project.build()
    unsigned = project.root / "dist/old.zip"
    shutil.copy(project.artifact, unsigned)
    project.otabuild("sign", "dist/vehicle.zip", *CERTIFICATE, "--key", "pki/sign.key", "--timestamp", "2025-06-01")
    with zipfile.ZipFile(project.artifact) as archive:
        (project.root / "index.jwt").write_bytes(archive.read("index.jwt"))
    assert project.otabuild("sign", "dist/old.zip", "--attach", "index.jwt").code == 0
    assert unsigned.read_bytes() == project.artifact.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["sign", "dist/vehicle.zip"], "give --certificate and --key"),
        (["sign", "dist/vehicle.zip", *CERTIFICATE, "--key", "pkcs11:token=a?pin-value=1234"], "contains a PIN"),
        (["sign", "dist/vehicle.zip", *CERTIFICATE, "--key", "pki/sign.key", "--passphrase", "1234"], "--passphrase"),
        (["sign", "dist/vehicle.zip", *CERTIFICATE, "--key", "pki/root-ca.key"], "does not belong"),
        (
            [
                "sign",
                "dist/vehicle.zip",
                "--certificate",
                "pki/sign.pem",
                "--key",
                "pki/sign.key",
                "--ca",
                "pki/root-ca.pem",
            ],
            "missing intermediate",
        ),
        (["sign", "dist/vehicle.zip", *CERTIFICATE, "--key", "pki/sign.key", "--timestamp", "2999-01-01"], "future"),
        (
            ["sign", "dist/vehicle.zip", *CERTIFICATE, "--key", "pki/sign.key", "--timestamp", "soon"],
            "--timestamp: is not a valid time",
        ),
        (["sign", "missing.zip", *CERTIFICATE, "--key", "pki/sign.key"], "no such image"),
        (["sign-prepare", "dist/vehicle.zip"], "give --certificate"),
        (["sign-finish", "dist/vehicle.zip"], "give --answer"),
        (["sign-finish", "dist/vehicle.zip", "--answer", "pki/sign.pem"], "give --request"),
        (["sign-finish", "recipes/vehicle.yaml", "--answer", "missing"], "missing: cannot read"),
        (["sign", "dist/vehicle.zip", "--attach", "pki/sign.pem"], "index.jwt"),
        (["sign", "dist/vehicle.zip", "--attach", "pki/sign.pem", "--attach", "pki/root-ca.pem"], "index.jwt"),
        (["sign", "dist/vehicle.zip", "--attach", "pki/sign.pem", "--attach", "missing"], "missing: cannot read"),
    ],
)
def test_mistakes_change_nothing(built: Project, arguments: list[str], text: str) -> None:
    """S19."""
    before = built.sha256
    done = built.otabuild(*arguments)
    assert done.code == (2 if "soon" in arguments else 1)
    assert text in done.err
    assert "1234" not in done.err.replace("vehicle", "")
    assert built.sha256 == before
    assert not built.leftovers()


def test_no_form_of_the_key_is_anywhere(project: Project, tmp_path: Path) -> None:
    """S21: outputs, reports, work directory, temporary files and messages, with tracebacks enabled."""
    key = key_of(project)
    pem = (project.root / "pki/sign.key").read_text()
    for path in (project.root / "pki").glob("*.key"):
        path.unlink()
    project.edit("{file: ../pki/sign.key}", "{env: SIGN_KEY}")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    ends = [
        project.otabuild("build", "recipes/vehicle.yaml", "--json", SIGN_KEY=pem, TMPDIR=str(temporary)),
        project.doit("build", SIGN_KEY=pem, TMPDIR=str(temporary)),
        project.otabuild("sign", "dist/vehicle.zip", *CERTIFICATE, "--key", "env:SIGN_KEY", SIGN_KEY=pem),
        project.otabuild("sign", "dist/vehicle.zip", *CERTIFICATE, "--key", "env:SIGN_KEY", SIGN_KEY=pem[:-40]),
    ]
    assert [end.code for end in ends] == [0, 0, 0, 1]
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    everything += "".join(end.out + end.err for end in ends).encode()
    assert not [form for form in pki.secrets(key) if form in everything]


@pytest.mark.parametrize("kind", ["artifact", "directory"])
def test_signing_shows_progress(project: Project, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    project.edit("output:", "output-dir: ../dist/vehicle\noutput:")
    project.build()
    image = "dist/vehicle.zip" if kind == "artifact" else "dist/vehicle"
    seen: list[tuple[str, int, int]] = []
    monkeypatch.chdir(project.root)
    monkeypatch.setattr("otabuild.session.show_progress", lambda *told: seen.append(told))
    assert main(["sign", image, *CERTIFICATE, "--key", "pki/sign.key"]) == 0
    assert {what for what, _, _ in seen} == {f"verify {image}", f"sign {image}"}
    assert seen[-1][1] == seen[-1][2] > 0


# What is not valid is not signed.


def _extra_blob(blobs: dict[str, bytes]) -> None:
    blobs[f"blobs/sha256/{hashlib.sha256(b'strange').hexdigest()}"] = b"strange"


def _damaged_blob(blobs: dict[str, bytes]) -> None:
    name = max(blobs, key=lambda name: len(blobs[name]))
    blobs[name] = blobs[name][:-1] + bytes([blobs[name][-1] ^ 1])


def _lost_blob(blobs: dict[str, bytes]) -> None:
    del blobs[max(blobs, key=lambda name: len(blobs[name]))]


BAD: dict[str, tuple[str, dict[str, Mutation]]] = {
    "a table": ("table.", {"file_table": sql("DELETE FROM ft_inode WHERE inode_id = 10")}),
    "a path in a table": (
        "table.path",
        {"file_table": sql("UPDATE ft_regular SET path = '/../a' WHERE path = '/etc/a'")},
    ),
    "a resource": ("resources.contents", {"resource_table": sql("DELETE FROM rs_manifest WHERE resource_id = 3")}),
    "a manifest": ("manifest", {"manifest": put("schemaVersion", 3)}),
    "a config": ("config", {"config": put("architecture", ...)}),
    "a blob that nothing names": ("blob", {"blob_files": _extra_blob}),
    "a damaged blob": ("blob", {"blob_files": _damaged_blob}),
    "a lost blob": ("", {"blob_files": _lost_blob}),
    "oci-layout": ("container", {"oci_layout": lambda _: b"{}"}),
    "the order of files": ("container.first", {"files": lambda files: files[::-1]}),
}
"""By what is wrong with an image: the rule that finds it, and how to make it."""


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("command", ["sign", "sign-prepare", "attach", "sign-finish"])
def test_an_image_that_is_not_valid_is_not_signed(
    built: Project,
    kind: str,
    command: str,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rule, mutations = BAD[kind]
    image = forge(**mutations).artifact(tmp_path / "bad.zip")
    before = image.read_bytes()
    monkeypatch.chdir(built.root)
    request = tmp_path / "request.json"
    options = {
        "sign": ["sign", str(image), *CERTIFICATE, "--key", "pki/sign.key"],
        "sign-prepare": ["sign-prepare", str(image), *CERTIFICATE, "-o", str(request)],
        "attach": ["sign", str(image), "--attach", "index.jwt"],
        "sign-finish": ["sign-finish", str(image), "--attach", "index.jwt"],
    }[command]
    with zipfile.ZipFile(built.artifact) as archive:
        Path("index.jwt").write_bytes(archive.read("index.jwt"))
    assert main(options) == 1
    said = capsys.readouterr().err
    assert "the image is not valid" in said
    assert "--unchecked" in said
    assert f"[{rule}" in said
    assert image.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["bad.zip"]


def test_an_image_of_another_tool_is_signed_unchecked_with_a_warning(project: Project) -> None:
    _, mutations = BAD["a table"]
    forge(**mutations).artifact(project.root / "theirs.zip")
    options = (*CERTIFICATE, "--unchecked")
    prepared = project.otabuild("sign-prepare", "theirs.zip", *options, "--timestamp", "2026-01-02")
    assert (prepared.code, "may not be valid" in prepared.err) == (0, True)
    signed = project.otabuild("sign", "theirs.zip", *options, "--key", "pki/sign.key")
    assert (signed.code, "may not be valid" in signed.err) == (0, True)
    assert project.otabuild("verify-sign", "theirs.zip", "--ca", "pki/root-ca.pem").code == 0
    assert not verifies(project, "theirs.zip")


@pytest.mark.parametrize("options", [(), ("-o", "s3://bucket/image.zip")])
def test_a_signed_image_is_not_written_to_a_url(built: Project, options: tuple[str, ...]) -> None:
    image = f"file://{built.root}/dist/vehicle.zip"
    before = (built.root / "dist/vehicle.zip").read_bytes()
    ended = built.otabuild("sign", image, *CERTIFICATE, "--key", "pki/sign.key", *options)
    assert ended.code == 1
    assert "not written to a URL" in ended.err
    assert (built.root / "dist/vehicle.zip").read_bytes() == before
    assert sorted(path.name for path in built.root.glob("*:*")) == []
