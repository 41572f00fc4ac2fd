"""Targets: the tables of an image as every command reads them, and the package databases in a payload."""

from __future__ import annotations

import struct
import tempfile
from contextlib import closing
from pathlib import Path

from otabuild.comparison.packages import dpkg_packages, rpm_packages, version_key
from otabuild.deployment.deploy_tar import deploy_tar
from otabuild.errors import OtabuildError
from otabuild.image.image import Image, open_image
from otabuild.image.list_image import list_image
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
    versions = [version for _, version in dpkg_packages(raw)]
    sorted(versions, key=version_key)


def _rpm(raw: bytes) -> None:
    sorted((version for _, version in rpm_packages(raw)), key=version_key)


DPKG = b"""Package: base-files
Status: install ok installed
Version: 1:12.4+deb12u5-3~rc1

Package: libc6
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Version: 2.36-9
"""


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
    "rpm": Target(_rpm, _rpm_seed, mutations.of_database, 150),
}
