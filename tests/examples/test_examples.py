"""The examples, each copied to a separate repository and run as a user would."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import jsonschema
import pytest
import yaml

from otabuild.image.image import open_image
from otabuild.recipe.schema import json_schema
from tests.stores.servers import BUCKET, aws_environ, needs_seaweedfs

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
    """Copies an example out of this repository."""

    def copy(name: str) -> Example:
        listed = subprocess.run(["git", "ls-files", "-z", "."], cwd=EXAMPLES / name, capture_output=True, check=False)
        paths = [path for path in listed.stdout.decode().split("\0") if path]
        found = Example(tmp_path / name)
        if paths:
            for path in paths:
                (found.folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(EXAMPLES / name / path, found.folder / path)
        else:  # a source archive: it contains only files that belong to it
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


GH = """\
#!/bin/sh
# One release, whose artifact is what was built before.
case "$2" in
  list) echo "$RELEASES" ;;
  download) cp dist/vehicle.zip "$6" ;;
esac
"""
PIP = """\
#!/bin/sh
# `pip install -c CONSTRAINTS CHECKOUT`
checkout="${4%[*}"
[ "$1 $2" = "install -c" ] && [ -f "$checkout/pyproject.toml" ] && [ "$3" = "$checkout/constraints.txt" ] && [ -f "$3" ]
"""


@pytest.fixture
def programs(tmp_path: Path) -> str:
    """A PATH with a pip that installs nothing and a gh that knows a release."""
    for name, text in {"gh": GH, "pip": PIP}.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text, encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    return f"{tmp_path / 'bin'}{os.pathsep}{BIN}{os.pathsep}{os.environ['PATH']}"


def source() -> dict[str, str]:
    """Variables that name this repository as where otabuild comes from."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    if head.returncode != 0:
        pytest.skip("no git repository to install from")
    return {"OTABUILD_GIT": str(ROOT), "OTABUILD_REF": head.stdout.strip()}


def test_github_actions(example: Callable[[str], Example], programs: str) -> None:
    made = example("github-actions")
    workflow = yaml.safe_load((made.folder / ".github/workflows/image.yml").read_text(encoding="utf-8"))
    steps = {step.get("name", step.get("uses")): step for step in workflow["jobs"]["image"]["steps"]}
    assert [name for name, step in steps.items() if "OTA_SIGN_KEY" in str(step)] == ["Build and verify"]
    assert steps["actions/cache@v4"]["with"]["path"].split() == CACHED
    assert {"OTABUILD_GIT", "OTABUILD_REF"} == set(workflow["env"])
    env = {**source(), "PATH": programs, "GITHUB_STEP_SUMMARY": str(made.folder.parent / "summary")}
    env["RUNNER_TEMP"] = str(made.folder.parent / "temp")
    for releases in ("0", "1"):
        for step in steps.values():
            if "run" in step and (releases == "0" or step["name"] in AFTER):
                made.shell(step["run"], **env, RELEASES=releases, OTA_SIGN_KEY="")
        assert (made.folder / "build/old.zip").exists() == (releases == "1")
    assert signed(made)
    assert (made.folder / "dist/report.html").stat().st_size > 0
    assert Path(env["GITHUB_STEP_SUMMARY"]).read_text(encoding="utf-8")


AFTER = ("Fetch the last release", "Review")
CACHED = ["build/.otabuild/cache", "build/.otabuild/archives"]


def test_gitlab_ci(example: Callable[[str], Example], programs: str) -> None:
    made = example("gitlab-ci")
    job = yaml.safe_load((made.folder / ".gitlab-ci.yml").read_text(encoding="utf-8"))["image"]
    assert job["cache"]["paths"] == CACHED
    checkout = str(made.folder.parent / "checkout")
    install = "\n".join(job["before_script"]).replace("/tmp/otabuild", checkout)
    made.shell(install, **source(), PATH=programs)
    script = "\n".join(job["script"])
    made.shell(script)
    assert signed(made)
    shutil.copy(made.folder / ARTIFACT, made.folder.parent / "last.zip")
    made.shell("rm -r pki")
    if shutil.which("curl"):
        made.shell(script, OTA_LAST_RELEASE=(made.folder.parent / "last.zip").as_uri())
        assert (made.folder / "dist/changes.md").stat().st_size > 0


class Fleet:
    """Two releases of two recipes in a bucket: how the runner of a recipe is started is the subject of a test."""

    def __init__(self, made: Example, address: str, programs: str) -> None:
        self.made = made
        keys = made.folder.parent / "key-service"
        keys.mkdir()
        made.shell("otabuild pki demo pki")
        for key in (made.folder / "pki").glob("*.key"):
            key.rename(keys / key.name)
        self.store = f"s3://{BUCKET}/{made.folder.parent.name}"
        self.environ = {**aws_environ(address), **source(), "PATH": programs, "OTA_STORE": self.store}
        self.key_service = {"KMS_HOME": str(keys)}

    def releases(self, runner: Callable[[str, dict[str, str]], None]) -> None:
        """Make a release from each of two commits, and check what is in the store then."""
        recipes = sorted(path.name for path in (self.made.folder / "recipes").iterdir())
        lines = {name: (self.made.folder / "recipes" / name).read_text(encoding="utf-8") for name in recipes}
        for name, text in lines.items():
            first = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("storage:"))
            assert first != text
            (self.made.folder / "recipes" / name).write_text(first, encoding="utf-8")
        self._tag("v0", {})
        self._release("v1", recipes, runner)
        self._tag("v1", lines)
        (self.made.folder / "rootfs/etc/motd").write_text("changed " * 40, encoding="utf-8")
        self._release("v2", recipes, runner)

    def _tag(self, tag: str, lines: dict[str, str]) -> None:
        self.made.shell(f"git tag --force {tag}")
        for name, text in lines.items():
            (self.made.folder / "recipes" / name).write_text(text, encoding="utf-8")

    def _release(self, tag: str, recipes: list[str], runner: Callable[[str, dict[str, str]], None]) -> None:
        commit = "git -c user.name=t -c user.email=t@example.com commit -q --allow-empty -am"
        self.made.shell(f"git add . && {commit} {tag} && git tag {tag}")
        for name in recipes:
            shutil.rmtree(self.made.folder / "build", ignore_errors=True)  # a runner starts empty
            runner(f"recipes/{name}", self.environ)
            release = f"{self.store}/releases/{name.removesuffix('.yaml')}-{tag}"
            checked = self.made.run("otabuild", "verify", release, "--ca", "pki/root-ca.pem", **self.environ)
            assert "verified" in checked


@pytest.fixture
def fleet(example: Callable[[str], Example], seaweedfs_address: str, programs: str) -> Fleet:
    return Fleet(example("fleet"), seaweedfs_address, programs)


@needs_seaweedfs
@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl here")
def test_a_fleet_on_github(fleet: Fleet) -> None:
    workflow = yaml.safe_load((fleet.made.folder / ".github/workflows/release.yml").read_text(encoding="utf-8"))
    (listing,) = [step["run"] for step in workflow["jobs"]["recipes"]["steps"] if "run" in step]
    said = fleet.made.folder.parent / "said"
    fleet.made.shell(listing, GITHUB_OUTPUT=str(said))
    assert said.read_text(encoding="utf-8") == 'names=["front.yaml","rear.yaml"]\n'
    job = workflow["jobs"]["image"]
    assert job["env"] == {"RECIPE": "recipes/${{ matrix.recipe }}"}

    def runner(recipe: str, environ: dict[str, str]) -> None:
        temporary, variables = Path(tempfile.mkdtemp(dir=fleet.made.folder.parent)), fleet.made.folder.parent / "env"
        variables.write_text("", encoding="utf-8")
        for step in job["steps"]:
            if "run" in step:
                told = dict(line.split("=", 1) for line in variables.read_text(encoding="utf-8").splitlines())
                key = fleet.key_service if step["name"] == "Sign and publish" else {}
                own = {"RECIPE": recipe, "RUNNER_TEMP": str(temporary), "GITHUB_ENV": str(variables)}
                fleet.made.shell(step["run"], **environ, **told, **key, **own)

    fleet.releases(runner)


@needs_seaweedfs
@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl here")
def test_a_fleet_on_gitlab(fleet: Fleet) -> None:
    jobs = yaml.safe_load((fleet.made.folder / ".gitlab-ci.yml").read_text(encoding="utf-8"))
    recipes = sorted(path.name for path in (fleet.made.folder / "recipes").iterdir())
    assert jobs[".image"]["parallel"]["matrix"] == [{"RECIPE": [f"recipes/{name}" for name in recipes]}]
    assert {jobs[name]["extends"] for name in ("build", "release")} == {".image"}

    def runner(recipe: str, environ: dict[str, str]) -> None:
        for name, key in (("build", {}), ("release", fleet.key_service)):
            checkout = tempfile.mkdtemp(dir=fleet.made.folder.parent)
            script = "\n".join(jobs[".image"]["before_script"] + jobs[name]["script"])
            fleet.made.shell(script.replace("/tmp/otabuild", f"{checkout}/otabuild"), **environ, **key, RECIPE=recipe)

    fleet.releases(runner)


def test_no_example_installs_a_name_that_anybody_could_publish() -> None:
    pages = [*EXAMPLES.rglob("*"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    for path in pages:
        if path.is_file() and path.suffix in {".md", ".yml", ".yaml", ".py", ".sh"}:
            lines = path.read_text(encoding="utf-8").splitlines()
            found = [line for line in lines if re.search(r"(?<!`)pip install .*\botabuild(\[\w+\])?['\"]?$", line)]
            assert [line for line in found if "/otabuild" not in line] == [], path


@pytest.mark.skipif(not shutil.which("make"), reason="no make here")
def test_make(example: Callable[[str], Example]) -> None:
    made = example("make")
    made.run("make", "demo")
    assert signed(made)
    shutil.copy(made.folder / ARTIFACT, made.folder / "build/old.zip")
    key = (made.folder / "pki/sign.key").read_text(encoding="utf-8")
    made.run("make", "review", "OLD=build/old.zip", OTA_SIGN_KEY=key)
    assert (made.folder / "build/changes.md").stat().st_size > 0
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
    if shutil.which("umoci"):
        made.shell("umoci unpack --rootless --image build/layout:vehicle build/bundle")
        made.shell(
            "install -D hello build/bundle/rootfs/usr/bin/added && umoci repack --image build/layout:vehicle build/bundle"
        )
    made.run("doit", "build")
    assert made.run("otabuild", "cat", ARTIFACT, "--ecu-id", "main", "/usr/bin/hello").endswith("echo hello\n")
    if shutil.which("umoci"):
        assert made.run("otabuild", "cat", ARTIFACT, "--ecu-id", "main", "/usr/bin/added").endswith("echo hello\n")


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
    made.run("./release.sh", KMS_HOME="/nowhere")  # the signature is known, so the service is not asked again


def signed(made: Example) -> bool:
    return "\nsigned artifact" in "\n" + made.run("otabuild", "list-image", ARTIFACT)
