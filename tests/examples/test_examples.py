"""The examples, each copied to a repository of its own and run as its users would."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import jsonschema
import pytest
import yaml

from otabuild.image.image import open_image
from otabuild.recipe.schema import json_schema

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
BIN = Path(sys.executable).parent
ARTIFACT = "dist/vehicle.zip"
STRANGE = ("OTABUILD_", "SOURCE_DATE_EPOCH", "DOIT_", "GIT_", "OTA_", "MAKE", "MFLAGS", "PYTEST")

pytestmark = pytest.mark.skipif(not (BIN / "otabuild").exists(), reason="otabuild is not installed in this environment")


def environment(**env: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(STRANGE)}
    return {**kept, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONWARNINGS": "ignore", **env}


class Example:
    """A copy of an example, committed to git."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, **env: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=environment(**env), capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def shell(self, script: str, **env: str) -> str:
        return self.run("bash", "-eo", "pipefail", "-c", script, **env)


@pytest.fixture
def example(tmp_path: Path) -> Callable[[str], Example]:
    """Copies an example out of our repository."""

    def copy(name: str) -> Example:
        listed = subprocess.run(["git", "ls-files", "-z", "."], cwd=EXAMPLES / name, capture_output=True, check=False)
        paths = [path for path in listed.stdout.decode().split("\0") if path]
        found = Example(tmp_path / name)
        if paths:
            for path in paths:
                (found.folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(EXAMPLES / name / path, found.folder / path)
        else:  # a source archive: nothing but what belongs to it is there
            shutil.copytree(EXAMPLES / name, found.folder)
        found.shell("git init -q . && git add . && git -c user.name=t -c user.email=t@example.com commit -qm first")
        return found

    return copy


def names() -> list[str]:
    return sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())


def test_every_example_is_in_the_readme() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [name for name in names() if f"| [`{name}`]" not in text] == []


@pytest.mark.parametrize("name", names())
def test_the_schema_accepts_the_recipe(name: str) -> None:
    for recipe in (EXAMPLES / name / "recipes").glob("*.yaml"):
        text = recipe.read_text(encoding="utf-8")
        assert text.startswith("# yaml-language-server: $schema=recipe.schema.json\n")
        jsonschema.validate(yaml.load(text, yaml.BaseLoader) | {"recipe": 1}, json_schema())


def test_github_actions(example: Callable[[str], Example]) -> None:
    made = example("github-actions")
    workflow = yaml.safe_load((made.folder / ".github/workflows/image.yml").read_text(encoding="utf-8"))
    env_file = made.folder.parent / "github-env"
    env_file.touch()
    ran = []
    for step in workflow["jobs"]["image"]["steps"]:
        if "run" not in step or step["name"] == "Install":
            continue
        ran.append(step["name"])
        made.shell(step["run"], GITHUB_ENV=str(env_file), **github_env(env_file.read_text(encoding="utf-8")))
    assert ran == ["Demo certificates", "Build", "Verify", "Report"]
    assert signed(made)
    assert (made.folder / "dist/report.html").stat().st_size > 0


def github_env(text: str) -> dict[str, str]:
    """What `NAME<<END` wrote to $GITHUB_ENV."""
    found, lines = {}, iter(text.splitlines())
    for line in lines:
        name, _, end = line.partition("<<")
        found[name] = "\n".join(itertools.takewhile(end.__ne__, lines)) + "\n"
    return found


def test_gitlab_ci(example: Callable[[str], Example]) -> None:
    made = example("gitlab-ci")
    job = yaml.safe_load((made.folder / ".gitlab-ci.yml").read_text(encoding="utf-8"))["image"]
    assert job["script"][0] == "pip install otabuild"
    made.shell("\n".join(job["script"][1:]))
    assert signed(made)


@pytest.mark.skipif(not shutil.which("make"), reason="no make here")
def test_make(example: Callable[[str], Example]) -> None:
    made = example("make")
    made.run("make", "demo")
    assert signed(made)
    made.run("make", "clean")
    assert not (made.folder / ARTIFACT).exists()


@pytest.mark.skipif(find_spec("nox") is None, reason="no nox here")
def test_nox(example: Callable[[str], Example]) -> None:
    made = example("nox")
    made.run(sys.executable, "-m", "nox")
    assert signed(made)


def test_custom_task(example: Callable[[str], Example]) -> None:
    made = example("custom-task")
    listed = made.run("doit", "list", "--all")
    assert "Make the rootfs" in listed
    made.run("doit", "notes:vehicle")
    notes = json.loads((made.folder / "dist/vehicle.notes.json").read_text(encoding="utf-8"))
    assert notes["payloads"] == ["main/dev"]
    with open_image(made.folder / ARTIFACT) as image:
        content = b"".join(image.payload("main").open("/etc/hostname"))
    assert content == b"vehicle\n"


@pytest.mark.skipif(not shutil.which("skopeo"), reason="no skopeo here, and no container engine to build with")
def test_oci_image(example: Callable[[str], Example]) -> None:
    made = example("oci-image")
    layer = tar({"usr/bin/hello": (made.folder / "hello").read_bytes()})
    archive = {"layer.tar": layer, "config.json": config(layer)}
    archive["manifest.json"] = json.dumps(
        [{"Config": "config.json", "RepoTags": ["vehicle:latest"], "Layers": ["layer.tar"]}]
    ).encode()
    (made.folder / "build").mkdir()
    (made.folder / "build/image.tar").write_bytes(tar(archive))
    made.shell("skopeo --insecure-policy copy -q docker-archive:build/image.tar oci:build/layout:vehicle")
    made.run("doit", "build")
    assert made.run("otabuild", "cat", ARTIFACT, "--ecu-id", "main", "/usr/bin/hello").endswith("echo hello\n")


def tar(files: dict[str, bytes]) -> bytes:
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, BytesIO(content))
    return out.getvalue()


def config(layer: bytes) -> bytes:
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
    return json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl here")
def test_kms_signed(example: Callable[[str], Example]) -> None:
    made = example("kms-signed")
    service = made.folder.parent / "key-service"
    service.mkdir()
    made.shell("otabuild pki demo pki")
    for key in (made.folder / "pki").glob("*.key"):
        key.rename(service / key.name)
    assert "verified" in made.run("./release.sh", KMS_HOME=str(service))
    assert signed(made)
    made.run("./release.sh", KMS_HOME="/nowhere")  # the signature is known: the service is not asked again


def signed(made: Example) -> bool:
    return "\nsigned artifact" in "\n" + made.run("otabuild", "list-image", ARTIFACT)
