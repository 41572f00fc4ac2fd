"""The CycloneDX document: valid by the official schema, the same each time, and with what scanners match by."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from otabuild.cli import main
from otabuild.image.image import open_image
from otabuild.packages.installed import InstalledPackage
from otabuild.sbom.package_urls import Distribution, package_url
from otabuild.storage.beside import documents_beside
from otabuild.version import __version__
from tests.image.products import Tree, build, make_tree, write_recipe

STATUS = b"""\
Package: libc6
Status: install ok installed
Multi-Arch: same
Architecture: amd64
Source: glibc
Version: 2.36-9+deb12u4

Package: bash
Status: install ok installed
Architecture: amd64
Source: bash (5.2.15-2)
Version: 5.2.15-2+b2

Package: adduser
Status: install ok installed
Architecture: all
Version: 3.134
"""
TREE: Tree = {
    "etc/os-release": b'ID=debian\nVERSION_ID="12"\n',
    "var/lib/dpkg/status": STATUS,
    "usr/share/doc/bash/copyright": b"Format: https://www.debian.org/1.0\n\nFiles: *\nLicense: GPL-3+\n\nLicense: MIT\n",
    "usr/lib/modules/5.10.104-tegra/modules.dep": b"",
    "etc/nv_tegra_release": b"# R35 (release), REVISION: 4.1, GCID\n",
    "opt/one/left-1.dist-info/METADATA": b"Name: left\nVersion: 1\nLicense-Expression: MIT OR Apache-2.0\n",
    "opt/two/left-1.dist-info/METADATA": b"Name: left\nVersion: 1\nLicense-Expression: MIT OR Apache-2.0\n",
    "srv/node_modules/@team/right/package.json": b'{"name": "@team/right", "version": "2.0.0", "license": "MIT"}',
    "opt/tool": b"of nobody",
}
PAYLOADS = [{"ecu": "main", "rootfs": "main", "release-keys": ["dev", "prd"]}]
ANNOTATIONS = {"project": {"name": "Vehicle", "version": "1.2"}}


GOLDEN = Path(__file__).with_name("golden.cdx.json")
JUDGES = Path(__file__).parents[2] / "build/judges"
needs_judges = pytest.mark.skipif(not (JUDGES / "made").exists(), reason="needs `make build/judges/made`")
_VALIDATE = """\
const cyclonedx = require("@cyclonedx/cyclonedx-library")
const validator = new cyclonedx.Validation.JsonStrictValidator(cyclonedx.Spec.Version.v1dot6)
validator.validate(require("fs").readFileSync(0, "utf8")).then((error) => console.log(JSON.stringify(error)))
"""
_PARSE = """\
import json, sys
from lib4sbom.parser import SBOMParser
parser = SBOMParser(sbom_type="cyclonedx")
parser.parse_file(sys.argv[1])
print(json.dumps([[one["name"], one.get("version")] for one in parser.get_packages()]))
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("image"), TREE, payloads=PAYLOADS, annotations=ANNOTATIONS)


def sbom(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main(["sbom", *map(str, arguments)]) == 0
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def test_it_is_valid_and_the_library_reads_it(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ([], ["--unpackaged"]):
        value = sbom(capsys, image, *options)
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(value)) is None
        assert Bom.from_json(value).metadata.component is not None  # type: ignore[attr-defined]


@needs_judges
@pytest.mark.parametrize(("change", "valid"), [(("", ""), True), (('"firmware"', '"x"'), False)])
def test_another_validator_agrees(
    image: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], *, valid: bool
) -> None:
    """That of the project that owns the form, in JavaScript."""
    text = json.dumps(sbom(capsys, image, "--unpackaged")).replace(*change)
    env = {**os.environ, "NODE_PATH": str(JUDGES / "node_modules")}
    told = subprocess.run(["node", "-e", _VALIDATE], env=env, input=text, check=True, capture_output=True, text=True)
    assert (json.loads(told.stdout) is None) == valid


@needs_judges
def test_another_reader_finds_every_component(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = sbom(capsys, image)
    (tmp_path / "image.cdx.json").write_text(json.dumps(value))
    told = subprocess.check_output([JUDGES / "bin/python", "-c", _PARSE, tmp_path / "image.cdx.json"])
    found = {tuple(one) for one in json.loads(told)}
    assert found == {(one["name"], one.get("version")) for one in value["components"]}


def test_the_image_is_the_root_with_its_payloads_below(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = sbom(capsys, image)
    with open_image(image) as opened:
        digest = hashlib.sha256(opened.index_raw).hexdigest()
        payloads = [payload.descriptor.digest_text for payload in opened.payloads]
    root = value["metadata"]["component"]
    assert (root["name"], root["version"], root["type"]) == ("Vehicle", "1.2", "firmware")
    assert root["hashes"] == [{"alg": "SHA-256", "content": digest}]
    assert value["metadata"]["timestamp"] == "2026-01-01T00:00:00+00:00"
    below = {one["ref"]: one.get("dependsOn", []) for one in value["dependencies"]}
    assert [ref.partition("@")[2] for ref in below[root["bom-ref"]]] == payloads
    contained = below[below[root["bom-ref"]][0]]
    assert contained == below[below[root["bom-ref"]][1]]
    assert set(contained) == {one["bom-ref"] for one in value["components"] if one["type"] != "container"}


def test_components_are_what_scanners_match(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    components = {one["bom-ref"]: one for one in sbom(capsys, image)["components"] if one["type"] != "container"}
    assert set(components) == {
        "os:debian@12",
        "pkg:deb/debian/adduser@3.134?arch=all&distro=debian-12",
        "pkg:deb/debian/bash@5.2.15-2%2Bb2?arch=amd64&distro=debian-12&upstream=bash%405.2.15-2",
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12&upstream=glibc",
        "pkg:generic/jetson-linux@R35.4.1",
        "pkg:generic/linux@5.10.104-tegra",
        "pkg:npm/%40team/right@2.0.0",
        "pkg:pypi/left@1",
    }
    assert all(one.get("purl", ref) == ref for ref, one in components.items())
    assert components["os:debian@12"]["type"] == "operating-system"
    assert components["pkg:generic/linux@5.10.104-tegra"]["cpe"].startswith("cpe:2.3:o:linux:linux_kernel:5.10.104:")
    left, right = components["pkg:pypi/left@1"], components["pkg:npm/%40team/right@2.0.0"]
    assert left["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    places = [one["value"] for one in left["properties"] if one["name"] == "otabuild:database"]
    assert places == ["/opt/one/left-1.dist-info/METADATA", "/opt/two/left-1.dist-info/METADATA"]
    assert (right["group"], right["name"]) == ("@team", "right")
    bash = next(one for one in components.values() if one["name"] == "bash")
    assert bash["licenses"] == [{"license": {"id": "MIT"}}, {"license": {"name": "GPL-3+"}}]


def test_files_of_no_package_are_counted_and_listed(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = sbom(capsys, image, "--unpackaged")
    files = {one["name"]: one["hashes"][0]["content"] for one in value["components"] if one["type"] == "file"}
    assert files["/opt/tool"] == hashlib.sha256(b"of nobody").hexdigest()
    (count,) = {
        prop["value"]
        for one in value["components"]
        for prop in one.get("properties", [])
        if prop["name"] == "otabuild:unpackaged-files"
    }
    assert int(count) == len(files)


def test_a_payload_can_be_chosen(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = sbom(capsys, image, "--ecu-id", "main", "--release-key", "prd")
    assert [one["name"] for one in value["components"] if one["type"] == "container"] == ["main/prd"]
    assert main(["sbom", str(image), "--ecu-id", "other"]) == 1


def test_the_same_image_gives_the_same_bytes(image: Path, tmp_path: Path) -> None:
    """In another process, with other hashes of texts, in another place and time zone."""
    copy = tmp_path / "elsewhere.zip"
    copy.write_bytes(image.read_bytes())
    made = []
    for number, path in enumerate((image, copy)):
        env = {**os.environ, "PYTHONHASHSEED": str(number + 1), "TZ": f"UTC-{number * 9}"}
        made.append(subprocess.check_output([sys.executable, "-m", "otabuild", "sbom", str(path)], env=env))
    assert made[0] == made[1]


def test_every_python_writes_these_bytes(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """But for what follows from the bytes of the image, which depend on libraries in C, and our own version."""
    assert main(["sbom", str(image)]) == 0
    text = capsys.readouterr().out
    with open_image(image) as opened:
        names = {hashlib.sha256(opened.index_raw).hexdigest(): "INDEX", __version__: "VERSION"}
        names |= {payload.descriptor.digest.hex(): payload.name.upper() for payload in opened.payloads}
    names[json.loads(text)["serialNumber"]] = "SERIAL"
    for found, name in names.items():
        text = text.replace(found, name)
    assert text == GOLDEN.read_text()


def test_a_recipe_writes_it_beside_the_artifact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = build(tmp_path, TREE, sbom={"format": "cyclonedx"}, payloads=PAYLOADS, annotations=ANNOTATIONS)
    beside = Path(f"{artifact}.cdx.json")
    assert main(["sbom", str(artifact)]) == 0
    assert beside.read_text() == capsys.readouterr().out
    assert documents_beside(str(artifact)) == [str(beside)]


def test_without_the_libraries_one_line_says_what_to_install(image: Path) -> None:
    hide = "import sys, importlib.util as u; f = u.find_spec\nu.find_spec = lambda n, *a: None if n == 'cyclonedx' else f(n, *a)\n"
    run = f"{hide}from otabuild.cli import main\nsys.exit(main(['sbom', {str(image)!r}]))"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install -c constraints.txt '.[sbom]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("package", "distribution", "url"),
    [
        (
            InstalledPackage("rpm", "bash", "1:5.2-1.fc40", "db", "x86_64", "bash", "5.2-1.fc40"),
            ("fedora", "40"),
            "pkg:rpm/fedora/bash@5.2-1.fc40?arch=x86_64&distro=fedora-40&epoch=1&upstream=bash-5.2-1.fc40.src.rpm",
        ),
        (
            InstalledPackage("rpm", "a", "1-2", "db"),
            ("opensuse-leap", "15.6"),
            "pkg:rpm/opensuse/a@1-2?distro=opensuse-leap-15.6",
        ),
        (
            InstalledPackage("apk", "busybox-binsh", "1.36-r2", "db", "x86_64", "busybox", "1.36-r2"),
            ("alpine", "3.18.4"),
            "pkg:apk/alpine/busybox-binsh@1.36-r2?arch=x86_64&distro=alpine-3.18.4&upstream=busybox",
        ),
        (InstalledPackage("apk", "musl", "1", "db"), ("", ""), "pkg:apk/alpine/musl@1"),
        (InstalledPackage("alpm", "pacman", "1:6-1", "db", "x86_64"), ("arch", ""), "pkg:alpm/arch/pacman@1:6-1?arch=x86_64&distro=arch"),
        (InstalledPackage("opkg", "base", "1-r0", "db", "arm"), ("poky", "4"), "pkg:opkg/base@1-r0?arch=arm"),
        (InstalledPackage("golang", "github.com/a/b", "v1.2.3", "db"), ("debian", "12"), "pkg:golang/github.com/a/b@v1.2.3"),
        (InstalledPackage("pypi", "My_Pkg", "1", "db"), ("debian", "12"), "pkg:pypi/my-pkg@1"),
    ],
)  # fmt: skip
def test_package_urls(package: InstalledPackage, distribution: Distribution, url: str) -> None:
    made = package_url(package, distribution).to_string()
    assert made == url
    assert PackageURL.from_string(made).to_string() == url


def test_an_output_in_the_place_of_an_input_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_tree(tmp_path / "conf", {"sys.yaml": b"hostname: a\n"})
    payload = {"ecu": "main", "rootfs": "main", "sys-config": "image.zip.cdx.json"}
    recipe = write_recipe(tmp_path, TREE, sbom={"format": "cyclonedx"}, payloads=[payload])
    (tmp_path / "image.zip.cdx.json").write_text("hostname: a\n")
    assert main(["plan", str(recipe)]) == 1
    assert "is the same place as payloads" in capsys.readouterr().err
