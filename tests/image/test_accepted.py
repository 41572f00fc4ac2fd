"""Whatever build accepts, verify accepts, and deploy writes: one rule set from the first step to the last."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otabuild.deployment.deploy import deploy
from otabuild.deployment.deploy_tar import deploy_tar
from otabuild.errors import MetaApplyError, OtabuildError
from otabuild.format import file_table
from otabuild.format.capabilities import parse_capability
from otabuild.image.image import open_image
from otabuild.rootfs import acl_text
from otabuild.verification.verify import verify
from tests.image import products
from tests.rootfs import tars

CAPABILITY = parse_capability("cap_net_raw+ep")
ACL = acl_text.attribute("acl", b"user::rwx,user:5:r-x,group::r-x,mask::r-x,other::---")[1]
NAMES = ["f", "d/g", "d/e/h", "ünï", "a b", "\u202e", ".wh.x", "-", "n" * 255, "*"]
ODD_NAMES = ["a\nb", "\udcff", "n" * 256, "../x", ".", "/".join(["p" * 200] * 21), "d//g", "\x7f", "\\"]
XATTRS = [("user.note", b"\0\1"), ("user.empty", b""), ("security.capability", CAPABILITY)]
ODD_XATTRS = [
    (file_table.ACL, ACL),
    ("", b"x"),
    ("user.", b"x"),
    ("user.a\0b", b"x"),
    ("user." + "n" * 250, b"x"),
    ("user." + "n" * 251, b"x"),
    ("user.ü", b"x"),
    ("user.\udcff", b"x"),
    ("user.large", bytes(65536)),
    ("user.larger", bytes(65537)),
    ("security.capability", bytes(20)),
    ("security.capability", CAPABILITY[:12]),
    ("security.capability", b""),
    ("security.ima", b"\3"),
    (file_table.ACL, b"junk"),
    (file_table.DEFAULT_ACL, ACL),
    (file_table.ACL, ACL[:-8]),
    ("trusted.overlay.opaque", b"y"),
    ("btrfs.compression", b"zstd"),
    ("note", b"x"),
    (file_table.DEFAULT_ACL, ACL[:4] + ACL[12:]),
]
MODES, ODD_MODES = [0o644, 0o755, 0o600, 0o4755, 0o2750, 0], [0o7777, 0o100644, 0o77777]
OWNERS, ODD_OWNERS = [0, 1000, 65534, 2**21 - 1], [2**31, 2**32 - 2, 2**32 - 1, 2**32, 2**63, 10**19, 10**20]
TARGETS, ODD_TARGETS = ["f", "/etc/x", "../..", "ü"], ["", "t" * 4095, "t" * 4096, "\udcff", "a\nb"]
SIZES = [0, 1, 64, 65, 700, 5000, 300_000]


def odd(usual: list[Any], unusual: list[Any]) -> st.SearchStrategy[Any]:
    """Mostly a value that everybody accepts: an image with many odd values is always refused."""
    return st.integers(0, 11).flatmap(lambda roll: st.sampled_from(unusual if roll == 11 else usual))


@st.composite
def member(draw: st.DrawFn, name: bytes) -> bytes:
    """Draw the member of a name, with the records that say what its header cannot."""
    kind = draw(st.sampled_from([b"0", b"0", b"0", b"5", b"2", b"1", b"3"]))
    target = os.fsencode(draw(odd(TARGETS, ODD_TARGETS))) if kind == b"2" else b"base" if kind == b"1" else b""
    data = draw(st.sampled_from([b"a", b"b\n", b"\xff"])) * draw(st.sampled_from(SIZES)) if kind == b"0" else b""
    records = [(b"path", name), *([(b"linkpath", target)] if target else [])]
    for xattr, value in draw(st.lists(odd(XATTRS, ODD_XATTRS), max_size=2, unique_by=lambda pair: pair[0])):
        records.append((b"SCHILY.xattr." + os.fsencode(xattr), value))
    records += [(b"uid", b"%d" % draw(odd(OWNERS, ODD_OWNERS))), (b"gid", b"%d" % draw(odd(OWNERS, ODD_OWNERS)))]
    mode = draw(odd(MODES, ODD_MODES))
    return (
        tars.pax(*records)
        + tars.header(b"x", kind, size=len(data), link=b"base" if kind == b"1" else b"", mode=mode)
        + tars.padded(data)
    )


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    names = draw(st.lists(odd(NAMES, ODD_NAMES), max_size=5, unique=True))
    return b"".join(draw(member(os.fsencode(name))) for name in names)


text = odd(["demo", "v1.2", "ü"], ["", "\u202e", "\0", "a" * 5000, "\n", "1"])
recipes = st.fixed_dictionaries(
    {},
    optional={
        "annotations": st.fixed_dictionaries({}, optional={"platform": text, "com.example.team": text}),
        "sys-config": st.fixed_dictionaries(
            {"hostname": odd(["main"], ["a.b", "", "-x", "ü", "h" * 65])},
            optional={
                "swap": st.just({"filepath": "/swap", "size": 4}),
                "sysctl": st.lists(odd(["vm.swappiness=10"], ["demo", "a=", "=b", "ü=1"]), max_size=2),
            },
        ),
    },
)


def build(folder: Path, archive: bytes, keys: dict[str, Any]) -> Path | None:
    """Return the image, or None if it is refused."""
    etc = b"".join(tars.header(name, b"5", mode=0o755) for name in (b"etc", b"usr", b"d", b"d/e"))
    (folder / "in.tar").write_bytes(etc + tars.member(b"base", b"text") + archive + tars.END)
    try:
        payload = {"owner": "keep", "source": {"tar": str(folder / "in.tar")}}
        sys_config = keys.pop("sys-config", None)
        if sys_config is not None:
            (folder / "sys.yaml").write_text(yaml.safe_dump(sys_config), encoding="utf-8")
            one = {"ecu": "main", "rootfs": "main", "sys-config": str(folder / "sys.yaml")}
            keys = {**keys, "payloads": [one]}
        return products.build(folder, {}, rootfs=payload, **keys)
    except OtabuildError:
        return None


def accepted(archive: bytes, keys: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="otabuild-accepted-") as name:
        folder = Path(name)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            path = build(folder, archive, dict(keys))
        if path is None:
            return
        image = open_image(path)
        try:
            report = verify(image, None, products.NOW, without_signature=True)
            assert report.ok, [str(finding) for finding in report.findings]
            payload = image.payload("main")
            deploy_tar(payload, folder / "out.tar", None, products.NOW, insecure_no_verify=True)
            as_root = os.geteuid() == 0
            try:
                deploy(payload, folder / "out", None, products.NOW, insecure_no_verify=True, no_owner=not as_root)
            except MetaApplyError as error:  # found before anything is written
                if as_root and "cannot hold an attribute as large" not in error.what:
                    raise
            else:
                assert (folder / "out").is_dir()
        finally:
            image.close()


@settings(derandomize=True, database=None, max_examples=15, suppress_health_check=list(HealthCheck))
@given(archives(), recipes)
def test_some(archive: bytes, keys: dict[str, Any]) -> None:
    accepted(archive, keys)


@pytest.mark.sweep
@settings(database=None, max_examples=1500, suppress_health_check=list(HealthCheck))
@given(archives(), recipes)
def test_many(archive: bytes, keys: dict[str, Any]) -> None:
    accepted(archive, keys)
