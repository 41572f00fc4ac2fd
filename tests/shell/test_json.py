"""The JSON of every command: one object with `ok`, exactly as its JSON Schema says."""

from __future__ import annotations

import json
import shutil
import zipfile
from typing import Any

import jsonschema
import pytest

from otabuild.cli import make_parser
from otabuild.outputs.output_schema import COMMANDS, output_schema
from tests.image.forge import forge
from tests.image.packages import with_package
from tests.shell.projects import Project, answer, make_project
from tools.reference_commands import named_commands

IMAGE, OLD, RECIPE, PAYLOAD, CA = (
    *("dist/vehicle.zip", "out/old.zip", "recipes/vehicle.yaml"),
    *(("--ecu-id", "main"), ("--ca", "pki/root-ca.pem")),
)
CERTIFICATE = (
    *("--certificate", "pki/sign.pem", "--chain", "pki/intermediate.pem"),
    *("--timestamp", "2025-01-01T00:00:00Z"),
)
RUNS: dict[str, list[tuple[str, ...]]] = {
    "attest": [
        (RECIPE, "--builder-id", "test", "-o", "out/again.json"),
        (RECIPE, "--builder-id", "test", "--request", "out/attest-request.json"),
    ],
    "build": [(RECIPE,)],
    "cache prune": [("--size", "0")],
    "cache show": [()],
    "cache verify": [()],
    "check": [(RECIPE,)],
    "cost": [(OLD, IMAGE, *PAYLOAD), (OLD, IMAGE), (OLD, IMAGE, "--max-download", "1B")],
    "deploy-image": [
        (OLD, *PAYLOAD, *CA, "--to-tar", "out/tree.tar"),
        (OLD, *PAYLOAD, "--insecure-no-verify", "--to-tar", "out/other.tar"),
        (IMAGE, *PAYLOAD, *CA, "--no-owner", "--rootfs-dir", "out/new-tree", "--reuse", "out/tree"),
    ],
    "diff": [(OLD, IMAGE), (IMAGE, IMAGE)],
    "extract": [(IMAGE, *PAYLOAD, "/etc", "-o", "out/etc")],
    "get-filetable": [(IMAGE, *PAYLOAD, "-o", "out/table")],
    "get-resourcetable": [(IMAGE, "-o", "out/resources")],
    "init": [("out/new.yaml",)],
    "inspect-blob": [(IMAGE, "-o", "out/blob", "--checksum", "DIGEST")],
    "inspect-index": [(IMAGE,)],
    "lint": [(IMAGE, "--base", OLD), (RECIPE,)],
    "list-image": [(IMAGE,), ("out/unsigned.zip",)],
    "lookup-image": [(IMAGE, *PAYLOAD), (IMAGE, *PAYLOAD, "--image-config")],
    "ls": [(IMAGE, *PAYLOAD, "-R")],
    "offline": [(IMAGE, "--base", OLD, "-o", "out/stick")],
    "otaclient-package": [(IMAGE,), ("out/client.zip",), ("out/client.zip", "-o", "out/client")],
    "packages": [(IMAGE, "--files"), (IMAGE, "--unpackaged"), (IMAGE, "--owner", "/usr/bin/tool")],
    "pki check": [(*CERTIFICATE[:4], *CA, "--key", "pki/sign.key")],
    "pki demo": [("out/pki",)],
    "pki request": [("out/request", "--subject", "CN=OTA release")],
    "plan": [(RECIPE,)],
    "publish": [(IMAGE, "out/new-store", "--name", "2.0"), (OLD, "out/store", "--name", "1.0")],
    "pull": [("out/store/releases/1.0", "-o", "out/pulled.zip"), (IMAGE, "-o", "out/pulled/")],
    "report": [(IMAGE, "--base", OLD, "-o", "out/report.html")],
    "repro": [(RECIPE,), (RECIPE, "--provenance", "out/provenance.json")],
    "show": [(RECIPE,)],
    "sign": [(IMAGE, *CERTIFICATE, "--key", "pki/sign.key", "-o", "out/signed.zip")],
    "sign-finish": [
        ("recipes/outside.yaml", "--answer", "out/answer.json"),
        (IMAGE, "--attach", "out/index.jwt", "-o", "out/attached.zip"),
    ],
    "sign-prepare": [(IMAGE, *CERTIFICATE, "-o", "out/request.json")],
    "stat": [(IMAGE, *PAYLOAD, "/usr/bin/tool"), (IMAGE, *PAYLOAD, "/bin")],
    "store list": [("out/store",)],
    "store prune": [("out/store", "--keep", "9", "--dry-run")],
    "store show": [("out/store", "1.0")],
    "store verify": [("out/store",), ("out/damaged-store",)],
    "store withdraw": [("out/store", "1.0", "--dry-run")],
    "verify": [
        (IMAGE, *CA),
        (IMAGE, *CA, "--shallow", "--provenance", "out/provenance.json"),
        ("out/unsigned.zip", "--no-signature", "--strict"),
        ("out/damaged", *CA),
    ],
    "verify-resources": [(IMAGE,), ("out/damaged",)],
    "verify-sign": [(IMAGE, *CA), (IMAGE, "--no-trust")],
    "version": [()],
}
FAILURES: dict[str, list[tuple[str, ...]]] = {
    "check": [("none.yaml",), ("out/broken.yaml",)],
    "diff": [(IMAGE, "none")],
    "init": [(RECIPE,)],
    "list-image": [("none",)],
    "stat": [(IMAGE, *PAYLOAD, "/none")],
    "verify": [(IMAGE, "--ca", "pki/sign.pem")],
}
PACKAGE = "Package: base\nStatus: install ok installed\nVersion: {}\nArchitecture: amd64\nSource: src (1)\n\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a product with two releases, and a folder `out` with what commands need."""
    project = make_project(tmp_path_factory.mktemp("json") / "product")
    root = project.root
    (root / "out").mkdir()
    status = root / "rootfs/var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(PACKAGE.format("1.0"))
    (root / "rootfs/etc/gone").write_text("gone\n")
    project.build()
    shutil.copy(project.artifact, root / OLD)
    status.write_text(PACKAGE.format("2.0"))
    (root / "rootfs/etc/gone").unlink()
    (root / "rootfs/etc/new").write_bytes(b"new" * 100_000)
    project.build()
    outside = project.add_recipe("outside")
    outside.write_text(outside.read_text().replace("{file: ../pki/sign.key}", "external"))
    (root / "out/broken.yaml").write_text("recipe: 1\nnme: wrong\n")
    _prepare(project)
    return project


def _prepare(project: Project) -> None:
    root = project.root
    for words in (
        ("attest", RECIPE, "--builder-id", "test", "-o", "out/provenance.json"),
        ("sign-prepare", "recipes/outside.yaml", "-o", "out/outside.json"),
        ("publish", OLD, "out/store", "--name", "1.0"),
        ("publish", OLD, "out/damaged-store", "--name", "1.0"),
        ("pull", IMAGE, "-o", "out/damaged/"),
        ("deploy-image", OLD, *PAYLOAD, *CA, "--no-owner", "--rootfs-dir", "out/tree"),
    ):
        done = project.otabuild(*words)
        assert done.code == 0, done.err
    answer(project, "out/outside.json", "out/answer.json")
    with zipfile.ZipFile(project.artifact) as artifact:
        (root / "out/index.jwt").write_bytes(artifact.read("index.jwt"))
    forge(token=lambda _: b"").artifact(root / "out/unsigned.zip")
    forge(**with_package(legacy=("manifest.json", "otaclient.squashfs"))).artifact(root / "out/client.zip")
    for folder in ("damaged", "damaged-store"):
        blobs = [path for path in (root / "out" / folder).rglob("*") if len(path.name) == 64]
        largest = max(blobs, key=lambda path: path.stat().st_size)
        largest.write_bytes(bytes(largest.stat().st_size))


def exact(schema: Any) -> Any:
    """Return a JSON Schema that allows no key that it does not list."""
    if isinstance(schema, list):
        return [exact(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    more = {"additionalProperties": False} if "properties" in schema and "additionalProperties" not in schema else {}
    return {**{key: exact(value) for key, value in schema.items()}, **more}


def each(runs: dict[str, list[tuple[str, ...]]]) -> pytest.MarkDecorator:
    pairs = [(command, words) for command, listed in runs.items() for words in listed]
    return pytest.mark.parametrize(("command", "words"), pairs, ids=map(" ".join, ((c, *w) for c, w in pairs)))


def output(built: Project, command: str, words: tuple[str, ...]) -> dict[str, Any]:
    """Return what a command prints, once it is what its schema says."""
    if "DIGEST" in words:
        digest = json.loads(built.otabuild("list-image", IMAGE, "--json").out)["payloads"][0]["digest"]
        words = tuple(word.replace("DIGEST", digest) for word in words)
    done = built.otabuild(*command.split(), *words, "--json")
    value: dict[str, Any] = json.loads(done.out)
    jsonschema.validate(value, exact(output_schema(command)))
    assert value["ok"] is (done.code == 0)
    return value


@each(RUNS)
def test_the_output_is_what_the_schema_says(built: Project, command: str, words: tuple[str, ...]) -> None:
    assert "error" not in output(built, command, words)


@each(FAILURES)
def test_so_is_a_failure(built: Project, command: str, words: tuple[str, ...]) -> None:
    assert "error" in output(built, command, words)


def test_every_command_with_json_is_checked() -> None:
    with_json = {
        name.removeprefix("otabuild ")
        for name, parser in named_commands(make_parser(), "otabuild")
        if any("--json" in action.option_strings for action in parser._actions)
    }
    caches = {f"cache {action}" for action in ("show", "prune", "verify")}
    assert set(RUNS) == set(COMMANDS) == with_json - {"cache"} | caches


@pytest.mark.parametrize("command", ["build", "cache show", "store prune"])
def test_the_schema_is_printed(built: Project, command: str) -> None:
    printed = json.loads(built.otabuild("schema", *command.split()).out)
    jsonschema.Draft202012Validator.check_schema(printed)
    assert printed == output_schema(command)


def test_no_schema_of_a_command_without_json(built: Project) -> None:
    done = built.otabuild("schema", "cat")
    assert done.code == 1
    assert "not a command with --json (observed cat, expected attest, build," in done.err
