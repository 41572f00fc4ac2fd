"""Threats Z1 to Z7: what two ZIP readers could see differently is refused, and only existing bytes are read."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otabuild.errors import ContainerError, InputError, IntegrityError
from otabuild.storage.backends import open_backend
from otabuild.storage.zip_reader import legal_name
from tests.image.zip_forge import Entry, central_header, header_fields, local_header, zip_bytes

HEX = "0" * 64
FULL = 0xFFFFFFFF
Change = Callable[[list[Entry]], Any]


def entries() -> list[Entry]:
    return [
        Entry("index.json", b"{}"),
        Entry("index.jwt", b"a.b.c"),
        Entry("blobs/", b""),
        Entry("blobs/sha256/", b""),
        Entry(f"blobs/sha256/{HEX}", b"a blob of some bytes"),
        Entry("oci-layout", b"{}"),
    ]


def refused(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    with pytest.raises(ContainerError):
        read_all(path)


def read_all(path: Path) -> dict[str, bytes]:
    source = open_backend(path)
    try:
        return {m.name: b"".join(source.chunks(m.name)) for m in source.members()}
    finally:
        source.close()


def zip64(*values: int) -> bytes:
    return struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values)


def at(index: int, **fields: Any) -> Change:
    """Set fields of an entry's headers: `local_x` and `central_x`, or `x` for both."""

    def change(found: list[Entry]) -> None:
        for key, value in fields.items():
            where, _, field = key.partition("_")
            for name in ("local", "central") if where == "both" else (where,):
                getattr(found[index], name)[field] = value

    return change


def attribute(index: int, **values: Any) -> Change:
    def change(found: list[Entry]) -> None:
        for key, value in values.items():
            setattr(found[index], key, value)

    return change


CHANGES: dict[str, Change] = {
    "Z1-twice": lambda found: found.append(Entry("oci-layout", b"{}")),
    "Z1-twice-other-content": lambda found: found.append(Entry("oci-layout", b"{ }")),
    "Z1-case": lambda found: found.extend(
        [Entry(name, b"") for name in ("data/", "data/opt/", "data/opt/ota/", "data/opt/ota/otaclient_release/")]
        + [Entry("data/opt/ota/otaclient_release/a", b""), Entry("data/opt/ota/otaclient_release/A", b"")]
    ),
    "Z2-only-central": attribute(4, in_local=False),
    "Z2-only-local": attribute(4, in_central=False),
    "Z2-gap": attribute(3, after=b"gap"),
    "Z2-gap-before": attribute(0, before=b"gap"),
    "Z2-overlap": at(4, central_offset=0),
    "Z2-local-size": at(4, local_size=3, local_stored=3),
    "Z2-local-stored": at(4, local_stored=3),
    "Z2-both-stored": at(4, both_stored=3),
    "Z2-central-size": at(4, central_size=3, central_stored=3),
    "Z2-local-crc": at(4, local_crc=1),
    "Z2-central-crc": at(4, central_crc=1),
    "Z2-local-name": at(4, local_name=b"oci-layout"),
    "Z2-central-name": at(4, central_name=b"oci-layouT"),
    "Z2-local-method": at(4, local_method=8),
    "Z2-local-flags": at(4, local_flags=0x800),
    "Z2-comment-of-entry": at(4, central_comment=b"x"),
    "Z2-disk-of-entry": at(4, central_disk=1),
    "Z2-order": lambda found: found[4].central.update(offset=30 + 10 + 2),
    "Z3-deflate": at(4, both_method=8),
    "Z3-lzma": at(4, both_method=14),
    "Z3-zstd": at(4, both_method=93),
    "Z3-encrypted": at(4, both_flags=1),
    "Z3-descriptor": at(4, both_flags=8),
    "Z3-utf-8-flag-on-ascii": at(4, both_flags=0x800),
    "Z3-extra": at(4, both_extra=b"\x55\x54\x05\x00\x01\0\0\0\0"),
    "Z3-zip64-not-needed": at(4, both_extra=zip64(20, 20)),
    "Z3-zip64-missing": at(4, both_size=0xFFFFFFFF, both_stored=0xFFFFFFFF),
    "Z3-zip64-short": at(4, both_size=0xFFFFFFFF, both_stored=0xFFFFFFFF, both_extra=zip64(20)),
    "Z3-zip64-twice": at(4, both_size=0xFFFFFFFF, both_stored=0xFFFFFFFF, both_extra=zip64(20, 20) * 2),
    "Z3-zip64-not-needed-both": at(4, both_needed=45, both_size=FULL, both_stored=FULL, both_extra=zip64(20, 20)),
    "Z3-zip64-not-needed-offset": at(0, central_needed=45, central_offset=FULL, central_extra=zip64(0)),
    "Z3-zip64-lies": at(4, both_size=0xFFFFFFFF, both_stored=0xFFFFFFFF, both_extra=zip64(20, 21)),
    "Z4-dots": lambda found: found.append(Entry("../x", b"")),
    "Z4-absolute": lambda found: found.append(Entry("/index.json", b"")),
    "Z4-drive": lambda found: found.append(Entry("C:\\x", b"")),
    "Z4-backslash": lambda found: found.append(Entry("blobs\\sha256", b"")),
    "Z4-nul": lambda found: found.append(Entry("oci-layout\0", b"")),
    "Z4-empty": lambda found: found.append(Entry("", b"")),
    "Z4-dots-inside": lambda found: found.append(Entry("blobs/sha256/../..", b"")),
    "Z4-upper-case": lambda found: found.append(Entry(f"blobs/sha256/{'A' * 64}", b"")),
    "Z4-long": lambda found: found.append(Entry("x" * 65535, b"")),
    "Z4-not-utf-8": lambda found: found.append(Entry("\udcff", b"")),
    "Z4-symlink": at(4, central_external=0o120777 << 16),
    "Z4-device": at(4, central_external=0o020666 << 16),
    "Z4-folder-attribute": at(4, central_external=0o100644 << 16 | 0x10),
    "Z4-file-is-folder": at(4, central_external=0o040755 << 16),
    "Z4-folder-with-content": attribute(2, data=b"x"),
    "Z4-no-folder-entry": lambda found: found.__delitem__(3),
    "Z2-made-on-windows": at(4, central_made_by=0x0014),
    "Z2-date": at(4, both_date=0x3A22),
    "Z2-internal": at(4, central_internal=1),
    "Z2-needed": at(4, both_needed=63),
    "Z2-needed-45": at(4, both_needed=45),
    "Z2-needed-local": at(4, local_needed=45),
    "Z2-needed-central": at(4, central_needed=45),
    "Z2-made-by-4.5": at(4, central_made_by=0x032D),
    "Z4-folder-without-attribute": at(3, central_external=0o40755 << 16),
    "Z3-no-utf-8-flag": lambda found: found.extend(
        [Entry(name, b"") for name in ("data/", "data/opt/", "data/opt/ota/", "data/opt/ota/otaclient_release/")]
        + [Entry("data/opt/ota/otaclient_release/\u00e9", b"", {"flags": 0}, {"flags": 0})]
    ),
}


def test_good_artifact_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zip_bytes(entries()))
    assert read_all(path) == {entry.name: entry.data for entry in entries()}
    with zipfile.ZipFile(path) as other:
        assert other.testzip() is None


@pytest.mark.parametrize("name", CHANGES)
def test_change_is_refused(name: str, tmp_path: Path) -> None:
    found = entries()
    CHANGES[name](found)
    refused(tmp_path / "a.zip", zip_bytes(found))


@pytest.mark.parametrize(
    "end",
    [
        {"comment": b"x"},
        {"disk": 1},
        {"first": 1},
        {"here": 5},
        {"count": 5, "here": 5},
        {"count": 7, "here": 7},
        {"size": 10},
        {"start": 10},
        {"count": 0xFFFF, "here": 0xFFFF},
    ],
    ids=str,
)
def test_z2_end_record_that_lies_is_refused(end: dict[str, Any], tmp_path: Path) -> None:
    refused(tmp_path / "a.zip", zip_bytes(entries(), **end))


def test_z2_bytes_around_are_refused(tmp_path: Path) -> None:
    good = zip_bytes(entries())
    for raw in (b"x" + good, good + b"x", good + good, good + good[-22:]):
        refused(tmp_path / "a.zip", raw)


HUGE = 3 << 30
WIDE = {"needed": 45, "stored": FULL, "size": FULL, "extra": zip64(HUGE, HUGE)}


def huge(
    path: Path,
    *,
    local: dict[str, Any] = WIDE,
    central: dict[str, Any] = WIDE,
    far: dict[str, Any] | None = None,
    end: dict[str, int] | None = None,
    locator: tuple[int, int, int] = (0, 0, 1),
) -> Path:
    """A sparse artifact: a blob of 3 GiB and an entry behind it, with fields of their headers; locator from its place."""
    directory = b""
    with path.open("wb") as file:
        for name in ("index.json", "blobs/", "blobs/sha256/", f"blobs/sha256/{HEX}", "oci-layout"):
            at = file.tell()
            fields = header_fields(name, b"", at)
            is_blob = name.endswith(HEX)
            wide = {"needed": 45, "offset": FULL, "extra": zip64(at)} | (far or {}) if at > HUGE else {}
            directory += central_header(fields | (central if is_blob else wide))
            file.write(local_header(fields | (local if is_blob else {})))
            file.seek(HUGE if is_blob else 0, os.SEEK_CUR)
        start = file.tell()
        at = start + len(directory)
        record = {"made_by": 0x0314, "needed": 45, "disk": 0, "first": 0}
        record |= {"here": 5, "count": 5, "size": len(directory), "start": start} | (end or {})
        file.write(directory + struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, *record.values()))
        file.write(struct.pack("<4sIQI", b"PK\6\7", locator[0], at + locator[1], locator[2]))
        file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 5, 5, len(directory), start, 0))
    return path


def names_of(path: Path) -> list[str]:
    source = open_backend(path)
    try:
        return [member.name for member in source.members()]
    finally:
        source.close()


@pytest.mark.parametrize("made_by", [0x0314, 0x032D])
def test_z6_zip64_is_read_where_the_reference_writes_it(made_by: int, tmp_path: Path) -> None:
    path = huge(tmp_path / "a.zip", central=WIDE | {"made_by": made_by}, far={"made_by": made_by})
    assert names_of(path)[-1] == "oci-layout"


PLAIN = {"needed": 20, "stored": HUGE, "size": HUGE, "extra": b""}


def test_z6_zip64_is_not_due_below_4_gib(tmp_path: Path) -> None:
    path = huge(tmp_path / "a.zip", local=PLAIN, central=PLAIN)
    assert names_of(path)[-1] == "oci-layout"


HALF = {"needed": 45, "stored": FULL, "size": HUGE, "extra": zip64(HUGE)}


@pytest.mark.parametrize(
    "lie",
    [
        {"local": PLAIN},
        {"central": PLAIN},
        {"local": HALF, "central": HALF},
        {"local": WIDE | {"needed": 20}},
        {"central": WIDE | {"needed": 20}},
        {"central": WIDE | {"extra": zip64(HUGE + 1, HUGE)}},
        {"central": WIDE | {"extra": zip64(HUGE + 1, HUGE + 1)}},
        {"local": WIDE | {"extra": zip64(HUGE + 1, HUGE + 1)}},
        {"far": {"needed": 20}},
        {"far": {"extra": zip64(HUGE)}},
        *({"end": {key: 1}} for key in ("count", "here", "size", "start", "disk", "made_by", "needed")),
        *({"locator": locator} for locator in ((0, -1, 1), (1, 0, 1), (0, 0, 2), (0, -HUGE, 1))),
    ],
    ids=str,
)
def test_z3_zip64_that_lies_is_refused(lie: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ContainerError):
        names_of(huge(tmp_path / "a.zip", **lie))


def test_z3_zip64_end_record_that_is_not_needed_is_refused(tmp_path: Path) -> None:
    raw = zip_bytes(entries())
    count, size, start = struct.unpack("<H2I", raw[-12:-2])
    at = len(raw) - 22
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 0x0314, 45, 0, 0, count, count, size, start)
    refused(tmp_path / "a.zip", raw[:at] + record + struct.pack("<4sIQI", b"PK\6\7", 0, at, 1) + raw[at:])


def test_z6_truncation_is_refused(tmp_path: Path) -> None:
    good = zip_bytes(entries())
    for length in range(len(good)):
        refused(tmp_path / "a.zip", good[:length])


def test_z6_more_than_65535_entries(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as writer:
        for name in ("blobs/", "blobs/sha256/", *(f"blobs/sha256/{n:064x}" for n in range(66_000))):
            info = zipfile.ZipInfo(name, (2009, 1, 1, 0, 0, 0))
            info.external_attr = 0o40755 << 16 | 0x10 if name.endswith("/") else 0o100644 << 16
            writer.writestr(info, b"")
    source = open_backend(path)
    assert sum(1 for _ in source.members()) == 66_002
    source.close()


def test_z7_wrong_crc_is_found_when_the_entry_is_read(tmp_path: Path) -> None:
    found = entries()
    at(4, both_crc=1)(found)
    refused(tmp_path / "a.zip", zip_bytes(found))


def test_r6_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (Path("/dev/zero"), tmp_path / "fifo", tmp_path / "missing"):
        with pytest.raises(InputError):
            open_backend(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IntegrityError):
        open_backend(tmp_path / "folder")


@pytest.mark.parametrize(
    ("name", "legal"),
    [
        ("index.json", True),
        ("data/opt/ota/otaclient_release/otaclient-arm64-v1.squashfs", True),
        ("data/opt/ota/otaclient_release/sub/file", True),
        ("data/opt/ota/otaclient_release/../x", False),
        ("data/opt/ota/otaclient_release//x", False),
        ("data/opt/ota/otaclient_release/a\\b", False),
        ("data/opt/ota/otaclient_release/a\nb", False),
        ("data/opt/ota/other", False),
        ("blobs/sha256/" + "0" * 63, False),
        ("blobs/sha256/" + "0" * 64 + "\n", False),
        ("index.json/", False),
    ],
)
def test_names(name: str, legal: bool) -> None:
    assert legal_name(name) is legal


@pytest.mark.parametrize("gap", [1, 3, 100])
def test_z2_a_gap_before_the_directory_is_refused(tmp_path: Path, gap: int) -> None:
    found = entries()
    found[-1].after = bytes(gap)
    (tmp_path / "x.zip").write_bytes(zip_bytes(found))
    with pytest.raises(ContainerError, match="bytes between the last entry and the central directory") as caught:
        read_all(tmp_path / "x.zip")
    assert caught.value.observed == str(gap)
