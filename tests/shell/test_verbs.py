"""Commands as people try to type them: from another folder, options anywhere, by another name, without the ECU."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest

from tests.shell.projects import Project

IMAGE = "dist/vehicle.zip"
RECIPE = "recipes/vehicle.yaml"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a product with an image; its tests write to new places only."""
    from tests.shell.projects import make_project

    project = make_project(tmp_path_factory.mktemp("verbs") / "product")
    project.build()
    return project


@pytest.mark.parametrize(
    "arguments",
    [
        ["-C", "product", "list-image", IMAGE],
        ["list-image", "-C", "product", IMAGE],
        ["-C", "product/rootfs", "-C", "..", "list-image", IMAGE],
        ["-C", "product", "list-image", "vehicle.zip", "-C", "dist"],
    ],
)
def test_c_changes_the_folder_first(built: Project, arguments: list[str]) -> None:
    done = built.otabuild(*arguments, cwd="..")
    assert (done.code, done.out) == (0, built.otabuild("list-image", IMAGE).out)


def test_c_finds_the_project_of_its_folder(built: Project) -> None:
    assert built.otabuild("-C", "product", "build", RECIPE, cwd="..").out.startswith("dist/vehicle.zip  ")
    assert not (built.root.parent / "build").exists()


def test_c_that_leads_nowhere(built: Project) -> None:
    done = built.otabuild("-C", "none", "list-image", IMAGE)
    assert (done.code, done.err) == (
        1,
        "error: -C none: cannot change to this folder (observed No such file or directory)\n",
    )


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("list", "list-image"),
        ("clean", "doit clean"),
        ("upload", "publish"),
        ("download", "pull"),
        ("validate", "verify"),
        ("unpack", "extract"),
        ("deploy", "deploy-image"),
        ("tree", "ls -R"),
    ],
)
def test_another_name_leads_to_the_command(built: Project, typed: str, meant: str) -> None:
    done = built.otabuild(typed, IMAGE)
    assert done.code == 2
    assert done.err.endswith(f"error: no such command: {typed}; did you mean `{meant}`?\n")


def test_what_nobody_can_have_meant(built: Project) -> None:
    assert built.otabuild("qqqq").err.endswith("error: no such command: qqqq\n")


PAYLOAD_COMMANDS = {
    "ls": [IMAGE],
    "stat": [IMAGE, "/etc"],
    "cat": [IMAGE, "/etc/hostname"],
    "extract": [IMAGE, "/etc", "-o", "none"],
    "lookup-image": [IMAGE],
    "get-filetable": [IMAGE, "-o", "none"],
    "deploy-image": [IMAGE, "--ca-dir", "pki", "--to-tar", "none"],
}


@pytest.mark.parametrize("command", PAYLOAD_COMMANDS)
def test_without_an_ecu_the_usage_error_names_those_of_the_image(built: Project, command: str) -> None:
    done = built.otabuild(command, *PAYLOAD_COMMANDS[command])
    assert done.code == 2
    assert done.err.startswith(f"usage: otabuild {command}")
    assert done.err.endswith("--ecu-id is required; ECU ids and release keys of dist/vehicle.zip: main/dev\n")
    other = built.otabuild(command, *PAYLOAD_COMMANDS[command], "--ecu-id", "other")
    assert other.code == 1
    assert "main/dev" in other.err
    assert not (built.root / "none").exists()


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_ls_without_a_path_lists_the_root(built: Project, options: list[str]) -> None:
    payload = ("--ecu-id", "main", *options)
    assert built.otabuild("ls", IMAGE, *payload).out == built.otabuild("ls", IMAGE, "/", *payload).out
    assert " bin -> usr/bin" in built.otabuild("ls", "--ecu-id", "main", IMAGE).out


def test_ls_takes_its_arguments_in_any_order(built: Project) -> None:
    wanted = built.otabuild("ls", IMAGE, "/etc", "--ecu-id", "main").out
    for arguments in (
        ["--ecu-id", "main", IMAGE, "/etc"],
        [IMAGE, "--ecu-id", "main", "/etc"],
        ["--ecu-id", "main", "--", IMAGE, "/etc"],
    ):
        assert built.otabuild("ls", *arguments).out == wanted
    assert built.otabuild("ls", IMAGE, "/etc", "/usr", "--ecu-id", "main").code == 2


def test_ls_recursive_has_whole_paths(built: Project) -> None:
    lines = built.otabuild("ls", "-R", IMAGE, "/usr", "--ecu-id", "main").out.splitlines()
    names = [line.split(maxsplit=3)[3] for line in lines]
    assert {"/usr/bin", "/usr/bin/tool", "/usr/bin/tool-again", "/usr/share/0"} <= set(names)
    assert names == sorted(names)
    assert all(name.startswith("/usr/") for name in names)
    everything = json.loads(built.otabuild("ls", "-R", IMAGE, "--ecu-id", "main", "--json").out)["entries"]
    assert set(names) < {entry["path"] for entry in everything}


def test_deploy_image_takes_the_image_as_an_argument_or_an_option(built: Project, tmp_path: Path) -> None:
    common = ["--ecu-id", "main", "--ca-dir", "pki", "--to-tar"]
    for number, image in enumerate(([IMAGE], ["--image", IMAGE])):
        for arguments in (
            [*image, *common, f"{tmp_path}/{number}a.tar"],
            [*common, f"{tmp_path}/{number}b.tar", *image],
        ):
            assert built.otabuild("deploy-image", *arguments).code == 0
    assert len({path.read_bytes() for path in tmp_path.glob("*.tar")}) == 1
    for image in ([], [IMAGE, "--image", IMAGE]):
        done = built.otabuild("deploy-image", *image, *common, f"{tmp_path}/x.tar")
        assert (done.code, done.err.splitlines()[-1]) == (2, "otabuild deploy-image: error: name one IMAGE")


def test_extract(built: Project, tmp_path: Path) -> None:
    done = built.otabuild("extract", IMAGE, "--ecu-id", "main", "/usr/bin", "-o", f"{tmp_path}/bin")
    assert done.out == f"{tmp_path}/bin: /usr/bin of main/dev, 100.0 KiB, signature NOT checked\n"
    assert (tmp_path / "bin/tool").read_bytes() == (built.root / "rootfs/usr/bin/tool").read_bytes()
    assert (tmp_path / "bin/tool").samefile(tmp_path / "bin/tool-again")
    value = json.loads(
        built.otabuild("extract", IMAGE, "--ecu-id", "main", "/etc", "-o", f"{tmp_path}/etc", "--json").out
    )
    assert value == {"ok": True, "target": f"{tmp_path}/etc", "payload": "main/dev", "path": "/etc", "content-size": 28}
    again = built.otabuild("extract", IMAGE, "--ecu-id", "main", "/etc", "-o", f"{tmp_path}/etc")
    assert "already exists" in again.err


def test_sign_prepare_prints_just_the_digest(built: Project, tmp_path: Path) -> None:
    sign = ["--certificate", "pki/sign.pem", "--chain", "pki/intermediate.pem", "--timestamp", "2025-01-01T00:00:00Z"]
    done = built.otabuild("sign-prepare", IMAGE, *sign, "--digest", "-o", f"{tmp_path}/r.json", "--json")
    request = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    (written,) = json.loads(done.out)["requests"]
    assert written["sha256"] == request["sha256"]
    done = built.otabuild("sign-prepare", IMAGE, *sign, "--digest", "-o", f"{tmp_path}/r.json")
    digest, text, name = done.out.split()
    assert (digest, name) == (request["sha256"], "index.jwt")
    assert base64.b64decode(text).hex() == digest


def test_diff_tells_that_another_certificate_signed(built: Project, tmp_path: Path) -> None:
    assert "signature" not in built.otabuild("diff", IMAGE, IMAGE).out
    assert built.otabuild("pki", "demo", f"{tmp_path}/pki").code == 0
    sign = ["--certificate", f"{tmp_path}/pki/sign.pem", "--chain", f"{tmp_path}/pki/intermediate.pem"]
    assert (
        built.otabuild("sign", IMAGE, *sign, "--key", f"{tmp_path}/pki/sign.key", "-o", f"{tmp_path}/b.zip").code == 0
    )
    said = built.otabuild("diff", IMAGE, f"{tmp_path}/b.zip").out
    assert "\nsignature (not checked):\n  certificate: " in said
    value = json.loads(built.otabuild("diff", IMAGE, f"{tmp_path}/b.zip", "--json").out)
    certificate = next(aspect for aspect in value["signature"] if aspect["name"] == "certificate")
    asked = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", tmp_path / "pki/sign.pem"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert certificate["after"] == asked.stdout.strip().partition("=")[2].replace(":", "").lower()


def test_show_tells_every_key(built: Project) -> None:
    lines = built.otabuild("show", RECIPE).out.splitlines()
    assert 'name = "vehicle"  # recipes/vehicle.yaml:2' in lines
    assert 'rootfs.main.xattrs.drop = ["security.selinux", "user.containers.*"]  # default' in lines
    value = json.loads(built.otabuild("show", RECIPE, "--json").out)
    assert value["ok"] is True
    assert {"key": "storage.profile", "value": "update", "from": "default"} in value["keys"]


def test_check_passes_and_writes_nothing(project: Project) -> None:
    before = project.files()
    done = project.otabuild("check", RECIPE)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{RECIPE}: nothing is wrong that shows without reading a rootfs\n"
    assert json.loads(project.otabuild("check", RECIPE, "--json").out) == {
        "ok": True,
        "recipe": "vehicle",
        "warnings": [],
    }
    assert project.files() == before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("recipe: 1", "recipe: 2", "recipes/vehicle.yaml:1:"),
        ("../pki/sign.key", "../pki/intermediate.key", "the private key does not belong to this certificate"),
        ("chain: [../pki/intermediate.pem]", "chain: [../pki/root-ca.pem]", "self-signed"),
        ("rootfs: main}", "rootfs: main, sys-config: none.yaml}", "no such file"),
        ("verify:", "otaclient-package: {release-dir: ../rootfs}\nverify:", "otaclient-package.release-dir"),
    ],
)
def test_check_finds_what_a_build_would_refuse(project: Project, old: str, new: str, said: str) -> None:
    project.edit(old, new)
    done = project.otabuild("check", RECIPE)
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert json.loads(project.otabuild("check", RECIPE, "--json").out)["ok"] is False


def test_check_tells_warnings(project: Project) -> None:
    project.edit("verify: {trust: [../pki/root-ca.pem]}\n", "")
    project.edit("  chain: [../pki/intermediate.pem]\n", "")
    done = project.otabuild("check", RECIPE, "--json")
    assert done.code == 0
    assert json.loads(done.out)["warnings"]
    assert done.err.startswith("warning: ")
