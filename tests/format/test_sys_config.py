"""The sys_config of an ECU: what goes into an image, and what is read from one."""

from __future__ import annotations

import pathlib
import re
import resource
import subprocess
import sys
import zipfile

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from otabuild.errors import FormatError, LimitError
from otabuild.format.digest import format_digest
from otabuild.format.sys_config import parse_sys_config, read_sys_config
from tests.shared import REFERENCE, has_fixtures

FULL = b"""\
hostname: main-ecu
extra_mount:
  - {file_system: LABEL=data, mount_point: /data, type: ext4, options: "defaults,nofail"}
swap: {filepath: /swapfile, size: 2}
sysctl: [vm.swappiness=10, "net.ipv4.ip_local_port_range = 1024 65535"]
persist_files: [/etc/netplan, /home/user/.ssh]
network:
  version: 2
  ethernets:
    eth0: &defaults {dhcp4: true, mtu: 1500}
    eth1: {<<: *defaults, dhcp4: false}
otaclient.ecu_info: {format_version: 1, ecu_id: main}
otaclient.proxy_info: {enable_local_ota_proxy: true}
"""
BOMB = b"hostname: a\nnetwork:\n  n0: &n0 [1,1,1,1,1,1,1,1,1,1]\n" + b"".join(
    b"  n%d: &n%d [%s]\n" % (n + 1, n + 1, b",".join([b"*n%d" % n] * 10)) for n in range(12)
)


def test_every_key() -> None:
    config = parse_sys_config(FULL, "s.yaml")
    assert config.hostname == "main-ecu"
    assert config.extra_mount
    assert config.extra_mount[0].mount_point == "/data"
    assert config.swap
    assert config.swap.size == 2
    assert config.sysctl
    assert config.sysctl[0] == "vm.swappiness=10"
    assert config.persist_files == ("/etc/netplan", "/home/user/.ssh")
    assert config.ecu_info == {"format_version": 1, "ecu_id": "main"}
    assert config.proxy_info == {"enable_local_ota_proxy": True}


def test_aliases_and_merge_keys_mean_what_clients_read() -> None:
    assert parse_sys_config(FULL, "s.yaml").network == yaml.safe_load(FULL)["network"]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "a sys_config is a mapping with at least a hostname"),
        (b"- hostname", "a sys_config is a mapping"),
        (b"swap: {filepath: /s, size: 1}", "line 1: hostname is missing"),
        (b"hostname: 5", "line 1: hostname: YAML reads '5' as a whole number; write it in quotes"),
        (b"hostname: on", "as true or false; write it in quotes"),
        (b"hostname: 2026-11-23", "as a date; write it in quotes"),
        (b"hostname: [1]", "hostname: input should be a valid string, not a list"),
        (b"hostname: a\nswap: {filepath: /s, size: 1.5}", "line 2: swap.size"),
        (b"hostname: a\nswap: {filepath: /s, size: 'two'}", "line 2: swap.size"),
        (b"hostname: a\nswap: {filepath: /s, size: '1.5'}", "line 2: swap.size"),
        (b"hostname: a\nx: !secret y", "s.yaml:2:4: clients cannot read this"),
        (b"hostname: !!python/object/apply:os.getcwd []", "s.yaml:1:11: clients cannot read this"),
        (b"hostname: a\nx: !!str [y]", "s.yaml:2:4: clients cannot read this"),
        (b"hostname: a\nx: !!map [y]", "s.yaml:2:4: clients cannot read this"),
        (b"hostname: a\nx: =", "s.yaml:2:4: clients cannot read this"),
        (b"hostname: a\nswap: {filepath: /s, size: true}", "line 2: swap.size"),
        (b"hostname: a\nswap: {size: 1}", "line 2: swap.filepath is missing"),
        (b"hostname: a\npersist_files: /etc", "line 2: persist_files: input should be a valid list"),
        (b"hostname: a\nsysctl: {vm.swappiness: 10}", "line 2: sysctl"),
        (b"hostname: a\nextra_mount: [{file_system: x, type: y}]", "line 2: extra_mount[0].mount_point is missing"),
        (b"hostname: a\nnetwork: text", "line 2: network: input should be a valid mapping"),
        (b"hostname: a\notaclient.ecu_info: []", "otaclient.ecu_info: input should be a valid mapping"),
        (b"hostname: a\n---\nhostname: b", "more than one document"),
        (b"hostname: \xff", "not UTF-8"),
        (b"\x00", "does not allow the character"),
        (b"hostname: [", "not YAML"),
        (b"[" * 100_000, "nested more than 32 deep"),
        (b"hostname: &a [*a]", "is inside its own anchor"),
        (BOMB, "more than 250000 values"),
        (b"hostname: a\nx: !!bool foo", "s.yaml:2:4: YAML reads 'foo' as true or false, but it is not valid"),
        (b'hostname: a\nx: !!int ""', "s.yaml:2:4: YAML reads '' as a whole number, but it is not valid"),
        (b'hostname: a\nx: !!float ""', "s.yaml:2:4: YAML reads '' as a number, but it is not valid"),
        (b"hostname: a\nx: !!timestamp foo", "s.yaml:2:4: YAML reads 'foo' as a date, but it is not valid"),
        (b"hostname: a\nx: 1" + b":1" * 100_000, "s.yaml:2:4: a whole number of more than 200 characters"),
        (b"hostname: a\nx: 0x" + b"f" * 200, "s.yaml:2:4: a whole number of more than 200 characters"),
    ],
)
def test_wrong(raw: bytes, said: str) -> None:
    with pytest.raises(FormatError) as caught:
        read_sys_config(raw, "s.yaml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("s.yaml:")


@pytest.mark.parametrize(
    ("more", "note"),
    [
        (b"otaclient: {ecu_info: {a: 1}}", "line 2: clients ignore a nested otaclient"),
        (b"persist_file: [/etc]", "line 2: unknown key 'persist_file'"),
        (b"5: x", "line 2: unknown key '5'"),
        (b"hostname: b", "line 2: the key 'hostname' occurs twice"),
        (b"network: !!map {a: 1}", "line 2: the tag !!map has no meaning here"),
        (b"swap:", "line 2: swap has no value"),
    ],
)
def test_what_we_do_not_write_is_a_note_on_reading(more: bytes, note: str) -> None:
    raw = b"hostname: a\n" + more
    with pytest.raises(FormatError) as caught:
        parse_sys_config(raw, "s.yaml")
    assert note in str(caught.value)
    config, notes = read_sys_config(raw, "s.yaml")
    assert len(notes) == 1
    assert notes[0].startswith(note)
    assert config.hostname == yaml.safe_load(raw)["hostname"]


@pytest.mark.parametrize("size", [b"'6'", b'"6"', b"!!str 6", b"'06'"])
def test_a_size_in_quotes_is_read_as_clients_do(size: bytes) -> None:
    raw = b"hostname: a\nswap: {filepath: /s, size: %s}" % size
    with pytest.raises(FormatError, match="is a number in quotes"):
        parse_sys_config(raw, "s.yaml")
    config, notes = read_sys_config(raw, "s.yaml")
    assert config.swap is not None
    assert config.swap.size == 6
    assert any("is a number in quotes; write it without" in note for note in notes)


@pytest.mark.parametrize("value", [b"!!binary aGk=", b"!!set {a, b}", b"!!omap [{a: 1}]", b"!!map {a: 1}", b"! a"])
def test_a_tag_that_a_safe_loader_knows_is_a_note(value: bytes) -> None:
    _, notes = read_sys_config(b"hostname: a\nnetwork: {x: %s}" % value, "s.yaml")
    assert len(notes) == 1
    assert "has no meaning here" in notes[0]


@pytest.mark.parametrize(
    ("raw", "note"),
    [
        (b"hostname: my host", "line 1: hostname: 'my host' is not a host name"),
        (b"hostname: a\nswap: {filepath: /s, size: 0}", "line 2: swap.size: '0' is not a valid size"),
        (b"hostname: a\nswap: {filepath: /a/../b, size: 1}", "line 2: swap.filepath: '/a/../b' is not a safe path"),
        (b"hostname: a\npersist_files: [etc/x]", "line 2: persist_files[0]: 'etc/x' is not a safe path"),
        (b"hostname: a\npersist_files: [/etc, /../etc]", "line 2: persist_files[1]"),
        (b"hostname: a\nsysctl: [vm.swappiness]", "line 2: sysctl[0]: 'vm.swappiness' is not a kernel setting"),
        (
            b"hostname: a\nextra_mount: [{file_system: x, type: y, mount_point: z}]",
            "line 2: extra_mount[0].mount_point",
        ),
        (
            b"hostname: a\nextra_mount: [{file_system: x, type: y, mount_point: /z, options: ''}]",
            "line 2: extra_mount[0].options",
        ),
        (b"hostname: a\nsysctl: [kernel.core_pattern=]", "line 2: sysctl[0]"),
    ],
)
def test_a_value_that_we_do_not_write_is_a_note_on_reading(raw: bytes, note: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_sys_config(raw, "s.yaml")
    assert str(caught.value).startswith(f"s.yaml: {note}")
    config, (told,) = read_sys_config(raw, "s.yaml")
    assert told.startswith(note)
    assert config.model_dump(by_alias=True, exclude_none=True, mode="json") == yaml.safe_load(raw)


@pytest.mark.parametrize(
    ("key", "fits", "refused"),
    [
        ("hostname", ["a", "A-b.c_d", "a" * 253], ["-a", "a-", "a.", "a b", "a" * 254, "é"]),
        (
            "persist_files",
            ["[/a]", "[/]", "[/a/..b]"],
            ["[a]", "[/..]", "[/a/../b]", '["/a\\0"]', '["/a\\nb"]', '[""]'],
        ),
        (
            "sysctl",
            ["[a=b]", "[a.b/c_d-*=1 2]", "[a = b]"],
            ["[a]", "[=b]", "[a=]", "['a= ']", '["a=b\\nc=d"]', "[a b=c]"],
        ),
        ("swap", ["{filepath: /s, size: 1}"], ["{filepath: /s, size: 0}", "{filepath: /s, size: '1'}"]),
    ],
)
def test_what_otabuild_writes_to_the_letter(key: str, fits: list[str], refused: list[str]) -> None:
    base = "" if key == "hostname" else "hostname: a\n"
    for value in fits:
        parse_sys_config(f"{base}{key}: {value}\n".encode(), "s.yaml")
    for value in refused:
        with pytest.raises(FormatError, match=f"s.yaml: line {2 if base else 1}: {key}"):
            parse_sys_config(f"{base}{key}: {value}\n".encode(), "s.yaml")


def test_all_problems_at_once() -> None:
    for hostname in ("5", "a b"):
        with pytest.raises(FormatError, match=r"line 1: hostname: .*; line 2: swap.filepath is missing"):
            parse_sys_config(f"hostname: {hostname}\nswap: {{size: 1}}".encode(), "s.yaml")


def test_size() -> None:
    parse_sys_config(b"hostname: a\n#" + b"x" * ((1 << 20) - 13), "s.yaml")
    with pytest.raises(LimitError):
        parse_sys_config(b"hostname: a\n#" + b"x" * ((1 << 20) - 12), "s.yaml")
    with pytest.raises(LimitError):
        parse_sys_config(b"hostname: a\n#" + b"x" * (1 << 20), "s.yaml")
    with pytest.raises(LimitError):
        read_sys_config(b"x" * (10 << 20), "s.yaml")


def test_bombs_stay_small() -> None:
    program = (
        "import sys\n"
        "from otabuild.errors import OtabuildError\n"
        "from otabuild.format.sys_config import read_sys_config\n"
        "try: read_sys_config(sys.stdin.buffer.read(), 's')\n"
        "except OtabuildError: print(open('/proc/self/status').read())\n"  # getrusage would count the parent before exec
    )
    root = pathlib.Path(__file__).parents[2]
    for bomb in (BOMB, b"[" * 1_000_000, b"{a: " * 250_000, b"- " * 500_000, b"&a " * 300_000):
        done = subprocess.run([sys.executable, "-c", program], input=bomb, capture_output=True, check=True, cwd=root)
        peak = re.search(rb"VmHWM:\s*(\d+) kB", done.stdout)
        assert peak
        assert int(peak[1]) < 100 * 1024 * (resource.getpagesize() // 4096), bomb[:10]


@has_fixtures
def test_reference_image() -> None:
    digest = format_digest(bytes.fromhex("ea78b2dad8eb4baeb11a41cdd4007927d7724ef96cca89e556a631e5411d9421"))
    with zipfile.ZipFile(REFERENCE) as image:
        config = parse_sys_config(image.read(f"blobs/sha256/{digest[7:]}"), "s.yaml")
    assert config.hostname == "main-ecu"


@settings(max_examples=200, derandomize=True)
@given(st.sampled_from(FULL.decode().splitlines()), st.text(max_size=20))
def test_any_line_is_read_or_our_error(line: str, instead: str) -> None:
    try:
        read_sys_config(FULL.decode().replace(line, instead).encode("utf-8", "surrogatepass"), "s.yaml")
    except FormatError as error:
        assert error.where.startswith("s.yaml")  # noqa: PT017 -- both outcomes are correct
