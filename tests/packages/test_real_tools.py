"""What otabuild reads equals what the package managers themselves say of the same tree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from otabuild.packages.installed import InstalledPackage
from tests.image.products import Tree
from tests.packages.databases import inventory_of, tree_of

HOST = Path("/var/lib/dpkg")


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if not shutil.which(tool)]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def said(*command: object) -> list[str]:
    """Return the lines that a command prints, sorted."""
    return sorted(subprocess.check_output([*map(str, command)], text=True).splitlines())


@needs("dpkg-query")
def test_dpkg(tmp_path: Path) -> None:
    """The database of this machine, with the files of a package that dpkg lists below a folder that is a link."""
    tree: Tree = {"bin": "usr/bin", "lib": "usr/lib", "etc/alone": b"in no package"}
    for path in [HOST / "status", HOST / "diversions", *(HOST / "info").glob("*.list")]:
        tree[str(path).lstrip("/")] = path.read_bytes()
    tree |= {f"usr/bin/{name}": name.encode() for name in ("ls", "cat", "dash")}
    found = inventory_of(tmp_path / "image", tree)
    form = "${db:Status-Status}|${Package}|${Version}|${Architecture}|${source:Package}|${source:Version}\n"
    query = ["dpkg-query", "--admindir", tmp_path / "image/rootfs/var/lib/dpkg"]
    lines = said(*query, "-W", "-f", form)
    installed = [line.partition("|")[2] for line in lines if not line.startswith(("not-installed", "config-files"))]
    assert installed
    assert sorted(map(_line, found.packages)) == sorted(installed)
    files = {package.label: package.files for package in found.packages}
    for package, programs in {"coreutils": ("cat", "ls"), "dash": ("dash",)}.items():
        listed = (HOST / f"info/{package}.list").read_text().splitlines()
        folder = ["/bin"] if "/bin" in listed else []  # as dpkg, it does not ask what that is; newer ones list /usr/bin
        assert files[package] == (*folder, *(f"/usr/bin/{name}" for name in programs))
    assert "/etc/alone" in found.unpackaged
    assert "/usr/bin/ls" not in found.unpackaged


def _line(package: InstalledPackage) -> str:
    fields = (package.name, package.version, package.architecture, package.source, package.source_version)
    return "|".join(fields)


SPEC = """\
Name: {name}
{epoch}
Version: 1.5
Release: 3
Summary: text
License: MIT and GPLv2+
BuildArch: noarch
%description
text
%package -n {name}-libs
Summary: text
%description -n {name}-libs
text
%install
mkdir -p %{{buildroot}}/usr/bin %{{buildroot}}/etc
echo program > %{{buildroot}}/usr/bin/{name}
echo text > %{{buildroot}}/etc/{name}.conf
%files
/usr/bin/{name}
%files -n {name}-libs
%config /etc/{name}.conf
"""


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    top = tmp_path_factory.mktemp("rpm")
    for name, epoch in (("tiny", "Epoch: 2"), ("other", "")):
        (top / f"{name}.spec").write_text(SPEC.format(name=name, epoch=epoch))
        command = ["rpmbuild", "-bb", "--define", f"_topdir {top}", top / f"{name}.spec"]
        subprocess.run([*map(str, command)], check=True, capture_output=True)
    return sorted((top / "RPMS").rglob("*.rpm"))


@pytest.mark.root
@needs("rpm", "rpmbuild")
def test_rpm(tmp_path: Path, rpms: list[Path]) -> None:
    (tmp_path / "root").mkdir()
    rpm = ["rpm", "--root", tmp_path / "root", "--dbpath", "/usr/lib/sysimage/rpm", "--define", "_db_backend sqlite"]
    subprocess.run([*map(str, rpm), "-i", "--nodeps", *map(str, rpms)], check=True, capture_output=True)
    form = "%{NAME}|%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}|%{ARCH}|%{SOURCERPM}|%{LICENSE}\n"
    lines = said(*rpm, "-qa", "--qf", form)
    tree = tree_of(tmp_path / "root") | {"var/lib/rpm": "../../usr/lib/sysimage/rpm"}
    found = inventory_of(tmp_path / "image", tree)
    assert len(found.packages) == 4
    assert not found.notes
    read = [
        f"{p.name}|{p.version}|{p.architecture}|{p.source}-{p.source_version}.src.rpm|{p.licenses[0]}"
        for p in found.packages
    ]
    assert sorted(read) == lines
    for package in found.packages:
        assert list(package.files) == said(*rpm, "-ql", package.name)
    assert found.owners("/usr/bin/tiny")[0].name == "tiny"


@pytest.mark.root
@needs("pacman")
def test_pacman(tmp_path: Path) -> None:
    root, built = tmp_path / "root", tmp_path / "package"
    (built / "usr/bin").mkdir(parents=True)
    (built / "usr/bin/demo").write_text("program")
    (built / ".PKGINFO").write_text(
        "pkgname = demo\npkgbase = demo-base\npkgver = 1:2.0-3\npkgdesc = text\nurl = x\nbuilddate = 1\n"
        "packager = x\nsize = 7\narch = any\nlicense = MIT\nlicense = GPL\n"
    )
    with tarfile.open(tmp_path / "demo-1:2.0-3-any.pkg.tar.gz", "w:gz") as archive:
        for name in (".PKGINFO", "usr"):
            archive.add(built / name, name)
    (root / "var/lib/pacman").mkdir(parents=True)
    (tmp_path / "cache").mkdir()
    (tmp_path / "pacman.conf").write_text(
        "[options]\nArchitecture = auto\nSigLevel = Never\nLocalFileSigLevel = Never\n"
    )
    pacman = ["pacman", "--root", root, "--config", tmp_path / "pacman.conf"]
    install = [*pacman, "-U", "--noconfirm", "--cachedir", tmp_path / "cache", tmp_path / "demo-1:2.0-3-any.pkg.tar.gz"]
    subprocess.run([*map(str, install)], check=True, capture_output=True)
    found = inventory_of(tmp_path / "image", tree_of(root))
    (package,) = found.packages
    assert [f"{package.name} {package.version}"] == said(*pacman, "-Q")
    assert package.files == ("/usr/bin/demo",)
    assert (package.source, package.architecture, package.licenses) == ("demo-base", "any", ("GPL", "MIT"))


def test_pip(tmp_path: Path) -> None:
    wheel = tmp_path / "demo_pkg-1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("demo_pkg/__init__.py", "x = 1\n")
        archive.writestr(
            "demo_pkg-1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: demo-pkg\nVersion: 1.2\nLicense: MIT\n"
        )
        archive.writestr(
            "demo_pkg-1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("demo_pkg-1.2.dist-info/RECORD", "demo_pkg/__init__.py,,\n")
    target = tmp_path / "root/opt/lib"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-q", "--no-index", "--no-deps", "--target", str(target), str(wheel)], check=True)
    found = inventory_of(tmp_path / "image", tree_of(tmp_path / "root"))
    listed = json.loads("\n".join(said(*pip, "list", "--path", target, "--format", "json")))
    assert [(p.name, p.version) for p in found.packages] == [(one["name"], one["version"]) for one in listed]
    assert found.packages[0].licenses == ("MIT",)
    assert "/opt/lib/demo_pkg/__init__.py" in found.packages[0].files
    assert not found.unpackaged


@needs("npm")
def test_npm(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for folder, value in {
        "src/left": {"name": "left", "version": "1.0.0", "license": "MIT"},
        "src/right": {"name": "@team/right", "version": "2.0.0-rc.1"},
    }.items():
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "package.json").write_text(json.dumps(value))
        (tmp_path / folder / "index.js").write_text("1")
    (root / "srv/app").mkdir(parents=True)
    (root / "srv/app/package.json").write_text('{"name": "app", "version": "1.0.0"}')
    npm = ["npm", "--prefix", root / "srv/app", "--cache", tmp_path / "cache", "--offline", "--no-audit", "--no-fund"]
    installs = [*npm, "install", "--install-links", tmp_path / "src/left", tmp_path / "src/right"]
    subprocess.run([*map(str, installs)], check=True, capture_output=True)
    found = inventory_of(tmp_path / "image", tree_of(root))
    done = subprocess.run([*map(str, npm), "ls", "--json", "--all"], check=False, capture_output=True)
    listed = json.loads(done.stdout)  # it also has an opinion on packages that came from a folder
    expected = {(name, one["version"]) for name, one in listed["dependencies"].items()}
    assert expected == {("left", "1.0.0"), ("@team/right", "2.0.0-rc.1")}
    assert {(p.name, p.version) for p in found.packages} == expected
    assert found.owners("/srv/app/node_modules/@team/right/index.js")[0].name == "@team/right"
    assert "/srv/app/package.json" in found.unpackaged


@needs("go")
@pytest.mark.parametrize("flags", [(), ("-ldflags=-s -w -buildid=", "-trimpath")])
def test_go(tmp_path: Path, flags: tuple[str, ...]) -> None:
    app, module = tmp_path / "app", tmp_path / "module"
    for folder in (app, module):
        folder.mkdir()
    (module / "go.mod").write_text("module example.com/module\n")
    (module / "module.go").write_text("package module\n\nfunc Say() { println(1) }\n")
    (app / "go.mod").write_text(
        "module example.com/app\n\nrequire example.com/module v1.2.3\n\nreplace example.com/module => ../module\n"
    )
    (app / "main.go").write_text('package main\n\nimport "example.com/module"\n\nfunc main() { module.Say() }\n')
    program = tmp_path / "root/usr/bin/app"
    env = {**os.environ, "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    env |= {"GOCACHE": str(tmp_path / "cache"), "GOPATH": str(tmp_path / "path")}
    subprocess.run(["go", "build", *flags, "-o", program, "."], cwd=app, env=env, check=True)
    found = inventory_of(tmp_path / "image", tree_of(tmp_path / "root"))
    listed = [
        line.split("\t") for line in subprocess.check_output(["go", "version", "-m", program], text=True).splitlines()
    ]
    version = listed[0][0].split(": go")[1]
    modules = {(fields[2], fields[3]) for fields in listed[1:] if fields[1] in ("mod", "dep")}
    assert {(p.name, p.version) for p in found.packages} >= {("stdlib", version)}
    names = {p.name for p in found.packages}
    assert "example.com/app" in names
    assert len(names) == 1 + len(modules)
    assert not found.unpackaged
