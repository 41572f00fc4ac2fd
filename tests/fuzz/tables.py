"""Targets: the tables of an image as every command reads them, and the package databases in a payload."""

from __future__ import annotations

import io
import struct
import tempfile
from contextlib import closing
from pathlib import Path

from otabuild.deployment.deploy_tar import deploy_tar
from otabuild.errors import OtabuildError
from otabuild.image.image import Image, open_image
from otabuild.image.list_image import list_image
from otabuild.packages.apk import apk_stanza
from otabuild.packages.dpkg import dpkg_packages
from otabuild.packages.go import go_modules, go_section
from otabuild.packages.languages import npm_manifest, python_metadata
from otabuild.packages.pacman import pacman_sections
from otabuild.packages.rpm import rpm_headers
from otabuild.packages.stanzas import blocks
from otabuild.packages.versions import order_key, version_key
from otabuild.verification.verify import verify
from tests import pki
from tests.fuzz import mutations
from tests.fuzz.target import Target
from tests.image import forge


def _image(changed: forge.Forged) -> None:
    """Verify an image, and read it in every other way in spite of what that says."""
    with (
        tempfile.TemporaryDirectory(prefix="otabuild-fuzz-") as folder,
        closing(open_image(changed.directory(Path(folder) / "image"))) as image,
    ):
        report = verify(image, forge.policy(), pki.NOW)
        "".join(map(str, report.findings)).encode()
        for read in (_list, _entries, _contents, _tar):
            try:
                read(image)
            except OtabuildError as error:
                str(error).encode()


def _list(image: Image) -> None:
    list_image(image).to_value()


def _entries(image: Image) -> None:
    for entry in image.payload("main").entries():
        entry.to_value()


def _contents(image: Image) -> None:
    resources = image.resources
    for row in resources.rows():
        for _chunk in resources.plan(row).stream(image.blobs):
            pass


def _tar(image: Image) -> None:
    with tempfile.TemporaryDirectory(prefix="otabuild-fuzz-") as folder:
        deploy_tar(image.payload("main"), f"{folder}/out.tar", forge.policy(), pki.NOW)


def _file_table() -> dict[str, bytes]:
    return {"forged": forge.database(forge.FILE_TABLE_SQL, forge.file_rows(), None)}


def _resource_table() -> dict[str, bytes]:
    rows = {"rs_manifest": [tuple(row) for row in forge.resource_rows()[0].values()]}
    return {"forged": forge.database(forge.RESOURCE_TABLE_SQL, rows, None)}


def _dpkg(raw: bytes) -> None:
    """Read a status file, and compare the versions as the list of changes does."""
    versions = [package.version for package in dpkg_packages(raw, "status")]
    sorted(versions, key=version_key)


def _rpm(raw: bytes) -> None:
    list(rpm_headers(io.BytesIO(raw)))


def _apk(raw: bytes) -> None:
    for stanza in blocks(raw):
        fields, _paths = apk_stanza(stanza)
        order_key("apk", fields.get("V", ""))


def _go(raw: bytes) -> None:
    if section := go_section(io.BytesIO(raw)):
        list(go_modules(section))


def _go_seed() -> dict[str, bytes]:
    """Return a program that has nothing but its build information: a header, two sections, their names."""
    info = b"0" * 16 + b"path\tx\nmod\texample.com/x\tv1.2.3\th1:=\n=>\texample.com/y\tv2.0.0\t\n" + b"1" * 16
    section = b"\xff Go buildinf:".ljust(15, b"\0") + b"\2" + bytes(16)
    section += b"\6go1.22" + bytes([len(info)]) + info
    names = b"\0.go.buildinfo\0"
    place = 64 + len(section) + len(names)
    head = b"\x7fELF\2\1\1".ljust(40, b"\0") + struct.pack("<QIHHHHHH", place, 0, 64, 0, 0, 64, 2, 1)
    table = struct.pack("<IIQQQQ", 1, 1, 0, 0, 64, len(section)).ljust(64, b"\0")
    table += struct.pack("<IIQQQQ", 0, 3, 0, 0, 64 + len(section), len(names)).ljust(64, b"\0")
    return {"program": head + section + names + table}


DPKG = b"""Package: base-files
Status: install ok installed
Version: 1:12.4+deb12u5-3~rc1

Package: libc6
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Version: 2.36-9
"""
APK = b"C:Q1\nP:musl\nV:1.2.4_rc1-r2\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:libc.so\nZ:Q1\n\nP:busybox\nV:1.36\n"
PACMAN = b"%NAME%\npacman\n\n%VERSION%\n6.0.1-1\n\n%LICENSE%\nGPL\nMIT\n"
METADATA = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nLicense-Expression: MIT\n\nText: x\n"
NPM = b'{"name": "@scope/demo", "version": "1.0.0", "license": {"type": "MIT"}}'


def _header(*tags: tuple[int, int, bytes]) -> bytes:
    """Return an rpm header."""
    entries, data = b"", b""
    for tag, kind, value in tags:
        entries += struct.pack(">4I", tag, kind, len(data), 1)
        data += value
    return struct.pack(">2I", len(tags), len(data)) + entries + data


def _rpm_seed() -> dict[str, bytes]:
    header = _header((1003, 4, b"\0\0\0\1"), (1000, 6, b"bash\0"), (1001, 6, b"5.2.15\0"), (1002, 6, b"3.el9\0"))
    script = "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)"
    return {"one": forge.database(script, {"Packages": [(1, header)]}, None)}


TARGETS = {
    "file-table": Target(
        lambda raw: _image(forge.forge(file_table_raw=lambda _: raw)), _file_table, mutations.of_database, 25
    ),
    "resource-table": Target(
        lambda raw: _image(forge.forge(resource_table_raw=lambda _: raw)), _resource_table, mutations.of_database, 25
    ),
    "dpkg": Target(_dpkg, lambda: {"status": DPKG}, mutations.of_text),
    "apk": Target(_apk, lambda: {"installed": APK}, mutations.of_text),
    "pacman": Target(pacman_sections, lambda: {"desc": PACMAN}, mutations.of_text),
    "python-metadata": Target(python_metadata, lambda: {"wheel": METADATA}, mutations.of_text),
    "npm": Target(npm_manifest, lambda: {"package": NPM}),
    "go": Target(_go, _go_seed),
    "rpm": Target(_rpm, _rpm_seed, mutations.of_database, 150),
}
