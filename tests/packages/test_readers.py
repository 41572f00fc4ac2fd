"""The readers of package databases: what each takes from its form, and how versions are ordered."""

from __future__ import annotations

import io
import itertools
import subprocess
from pathlib import Path

import pytest

from otabuild.packages.dpkg import dpkg_packages
from otabuild.packages.go import go_modules
from otabuild.packages.installed import PackageType
from otabuild.packages.languages import npm_folder
from otabuild.packages.rpm import rpm_headers
from otabuild.packages.versions import order_key, version_key
from tests.packages.databases import STATUS, inventory_of, named, rpm_database, rpm_header

APK = """\
C:Q1mm3EqZ
P:musl
V:1.2.4_git20230717-r4
A:x86_64
L:MIT
o:musl
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755
F:etc
R:musl.conf

P:busybox-binsh
V:1.36.1-r15
A:x86_64
L:GPL-2.0-only
o:busybox
"""


def test_dpkg_status() -> None:
    found = {p.label: p for p in dpkg_packages(STATUS.format(libc="1").encode(), "status")}
    assert {label: p.version for label, p in found.items()} == {"adduser": "3.134", "libc6:amd64": "1", "waiting": "2"}
    assert found["libc6:amd64"].name == "libc6"
    (one,) = dpkg_packages(b"Package: tzdata\nVersion: 2026a\n", "status.d/tzdata")
    assert (one.name, one.version, one.source, one.source_version) == ("tzdata", "2026a", "tzdata", "2026a")


@pytest.mark.parametrize(
    ("source", "expected"),
    [("glibc", ("glibc", "2-1+b1")), ("glibc (2-1)", ("glibc", "2-1")), ("", ("libc6", "2-1+b1"))],
)
def test_the_source_of_a_debian_package(source: str, expected: tuple[str, str]) -> None:
    (found,) = dpkg_packages(f"Package: libc6\nSource: {source}\nVersion: 2-1+b1\n".encode(), "status")
    assert (found.source, found.source_version) == expected


def test_the_packages_of_an_image_without_dpkg(tmp_path: Path) -> None:
    tree = {
        "var/lib/dpkg/status.d/base": b"Package: base-files\nVersion: 12.4\nArchitecture: amd64\n",
        "var/lib/dpkg/status.d/base.md5sums": b"00000000000000000000000000000000  etc/issue\n",
        "etc/issue": b"hello",
        "usr/share/doc/base-files/copyright": b"Format: https://x/1.0\n\nFiles: *\nLicense: GPL-2+\n text\nLicense: MIT\n",
    }
    (package,) = inventory_of(tmp_path, tree).packages
    assert (package.name, package.files, package.licenses) == ("base-files", ("/etc/issue",), ("GPL-2+", "MIT"))


def test_a_diverted_file_belongs_to_the_package_that_shipped_it(tmp_path: Path) -> None:
    tree = {
        "var/lib/dpkg/status": b"Package: one\nVersion: 1\n\nPackage: two\nVersion: 1\n",
        "var/lib/dpkg/info/one.list": b"/usr/bin/tool\n",
        "var/lib/dpkg/info/two.list": b"/usr/bin/tool\n",
        "var/lib/dpkg/diversions": b"/usr/bin/tool\n/usr/bin/tool.one\ntwo\n",
        "usr/bin/tool": b"of two",
        "usr/bin/tool.one": b"of one",
    }
    found = inventory_of(tmp_path, tree)
    assert [package.files for package in found.packages] == [("/usr/bin/tool.one",), ("/usr/bin/tool",)]
    assert [package.name for package in found.owners("/usr/bin/tool")] == ["two"]


def test_a_database_behind_a_link_is_found(tmp_path: Path) -> None:
    tree = {"var/lib/dpkg": "/data/dpkg", "data/dpkg/status": b"Package: one\nVersion: 1\n"}
    assert named(inventory_of(tmp_path, tree), "deb") == [("one", "1")]


def test_rpm_database(tmp_path: Path) -> None:
    raw = rpm_database(tmp_path / "db", rpm_header("bash", "5.2", "1.fc40"), rpm_header("bind", "9", "2", 32))
    assert raw[18:20] == b"\2\2", "as rpm leaves it: in write-ahead mode"
    assert [tags[1000] for tags in rpm_headers(io.BytesIO(raw))] == ["bash", "bind"]
    found = inventory_of(tmp_path / "image", {"usr/lib/sysimage/rpm/rpmdb.sqlite": raw})
    assert named(found, "rpm") == [("bash", "5.2-1.fc40"), ("bind", "32:9-2")]


def test_an_rpm_database_with_a_log_is_said_not_to_be_whole(tmp_path: Path) -> None:
    raw = rpm_database(tmp_path / "db", rpm_header("bash", "5.2", "1.fc40"))
    folder = "usr/lib/sysimage/rpm"
    found = inventory_of(tmp_path / "image", {f"{folder}/rpmdb.sqlite": raw, f"{folder}/rpmdb.sqlite-wal": b"log"})
    assert ["log has changes" in note.why for note in found.notes] == [True]


@pytest.mark.parametrize("database", ["lib/apk/db/installed", "usr/lib/apk/db/installed"])
def test_apk(tmp_path: Path, database: str) -> None:
    found = inventory_of(tmp_path, {database: APK.encode(), "lib/ld-musl-x86_64.so.1": b"l", "etc/musl.conf": b"c"})
    shell, musl = found.packages
    assert (musl.version, musl.architecture, musl.licenses) == ("1.2.4_git20230717-r4", "x86_64", ("MIT",))
    assert musl.files == ("/etc/musl.conf", "/lib/ld-musl-x86_64.so.1")
    assert (shell.name, shell.source, shell.source_version) == ("busybox-binsh", "busybox", "1.36.1-r15")


def test_opkg(tmp_path: Path) -> None:
    tree = {
        "var/lib/opkg/status": b"Package: base\nVersion: 1.0-r0\nStatus: install ok installed\nArchitecture: cortexa72\n\n"
        b"Package: gone\nVersion: 1\nStatus: deinstall ok not-installed\n",
        "var/lib/opkg/info/base.control": b"Package: base\nLicense: GPL-2.0-only & MIT\nOE: base-recipe\n",
        "var/lib/opkg/info/base.list": b"/etc/base.conf\n/usr/bin/base\t0100755\n",
        "etc/base.conf": b"c",
        "usr/bin/base": b"b",
    }
    (package,) = inventory_of(tmp_path, tree).packages
    assert (package.name, package.version, package.architecture) == ("base", "1.0-r0", "cortexa72")
    assert (package.source, package.licenses) == ("base-recipe", ("GPL-2.0-only & MIT",))
    assert package.files == ("/etc/base.conf", "/usr/bin/base")


def test_what_a_system_package_brings_is_a_part_of_it(tmp_path: Path) -> None:
    folder = "usr/lib/python3/dist-packages/six-1.16.dist-info"
    tree = {
        "var/lib/dpkg/status": b"Package: python3-six\nVersion: 1.16-4\n",
        "var/lib/dpkg/info/python3-six.list": f"/{folder}/METADATA\n".encode(),
        f"{folder}/METADATA": b"Name: six\nVersion: 1.16\n",
        "opt/lib/own-1.dist-info/METADATA": b"Name: own\nVersion: 1\nLicense: UNKNOWN\n",
    }
    found = inventory_of(tmp_path, tree)
    assert {package.name: package.part_of for package in found.packages if package.type == "pypi"} == {
        "six": "python3-six",
        "own": "",
    }
    assert [package.name for package in found.maintained] == ["python3-six", "own"]


def test_the_kernel_and_the_distribution(tmp_path: Path) -> None:
    tree = {
        "lib": "usr/lib",
        "usr/lib/modules/5.10.104-tegra/modules.dep": b"",
        "usr/lib/modules/5.10.104-tegra/kernel/net/x.ko": b"",
        "usr/lib/modules/leftover/extra/x.ko": b"",
        "etc/os-release": "../usr/lib/os-release",
        "usr/lib/os-release": b'ID=ubuntu\nVERSION_ID="22.04"\n',
    }
    found = inventory_of(tmp_path, tree)
    assert found.kernels == ("5.10.104-tegra",)
    assert found.distribution == ("ubuntu", "22.04")


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("/srv/node_modules/left/package.json", "/srv/node_modules/left"),
        ("/srv/node_modules/@team/right/lib/x.js", "/srv/node_modules/@team/right"),
        ("/srv/node_modules/a/node_modules/b/x", "/srv/node_modules/a/node_modules/b"),
        ("/srv/node_modules/.package-lock.json", ""),
        ("/srv/package.json", ""),
    ],
)
def test_the_npm_package_of_a_file(path: str, folder: str) -> None:
    assert npm_folder(path) == folder


def test_a_replaced_go_module_is_the_one_that_was_built() -> None:
    info = b"0" * 16 + b"mod\texample.com/app\t(devel)\t\ndep\ta.b/c\tv1.0.0\n=>\ta.b/fork\tv1.0.1\th1:=\n" + b"1" * 16
    section = b"\xff Go buildinf:".ljust(15, b"\0") + b"\2" + bytes(16) + b"\x08go1.22.1" + bytes([len(info)]) + info
    assert list(go_modules(section)) == [("example.com/app", "(devel)"), ("a.b/fork", "v1.0.1"), ("stdlib", "1.22.1")]


@pytest.mark.skipif(not Path("/usr/bin/dpkg").exists(), reason="needs dpkg")
@pytest.mark.parametrize(
    "versions",
    [
        "1.0~rc1 1.0 1.0a 1.0+b 1.0.1 1.00.10 1:0.1",
        "9-1 10-1 10-1+deb12u1 10-2~bpo 10-2",
        "0 1 1-0 1~ 2a 2+ a",
        "1.2-3 1.2-3.1 1:1",
    ],
)
def test_versions_compare_as_dpkg_does(versions: str) -> None:
    for left, right in itertools.combinations(versions.split(), 2):
        code = subprocess.run(["/usr/bin/dpkg", "--compare-versions", left, "lt", right], check=False).returncode
        assert (version_key(left) < version_key(right)) == (code == 0), (left, right)


@pytest.mark.parametrize(
    ("type_", "rising"),
    [
        ("pypi", "1.0a1 1.0rc1 1.0 1.0.post1 1.1.dev1 1.1"),
        ("npm", "1.0.0-alpha.1 1.0.0-rc.2 1.0.0 1.0.1"),
        ("golang", "v0.0.0-20200101000000-abc v0.1.0-rc.1 v0.1.0"),
        ("apk", "1.0_rc1-r0 1.0-r0 1.0-r1 1.0_p1-r0"),
        ("alpm", "1.0beta-1 1.0-1 1.0.1-1"),
        ("deb", "1.0~rc1 1.0 1.0rc1"),
    ],
)
def test_early_versions_come_before_the_version(type_: PackageType, rising: str) -> None:
    versions = rising.split()
    keys = [order_key(type_, version) for version in versions]
    assert all(left < right for left, right in itertools.pairwise(keys))
