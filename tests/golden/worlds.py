"""The worlds whose images are pinned: two trees as archives made in code, and recipes that use every key of bytes.

Nothing of this machine enters: owners, times and attributes stand in the archives, certificates are files beside this
one. Images are made by the command alone, so the pins outlive any change of the code behind it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests import pki

Member = tuple[str, bytes | None, dict[str, object]]
"""Path, content (None: it has none), and fields of the header that differ from those of `archive`."""
EPOCH = "2026-01-01T00:00:00Z"
LATER = "2026-02-02T00:00:00Z"
CERTIFICATES = Path(__file__).parent / "certificates"
"""A chain that is valid until 2095. Its bytes are in every signature, so no library writes them anew."""
PROFILES = ("update", "size", "reference")
CASES = (*PROFILES, "sliced", "next-release", "signed-again")

_RECIPE = """\
recipe: 1
name: golden
output: image.zip
timestamp: "{epoch}"
annotations:
  platform: demo-platform
  project: {{name: demo, version: "1.10", source-repo: "https://example.org/demo", release-commit: abc, release-branch: main}}
  web-auto:
    {{project: p, project-id: i, catalog: c, catalog-id: j, env: dev, cicd: {{release-id: "7", release-name: seven}}}}
  org.example.note: kept as it is
rootfs:
  plain:
    source: {{tar: plain.tar}}
    base-image: "debian:12"
    architecture: arm64
    os: {{name: Example, version: "12"}}
  odd:
    source: [{{tar: odd.tar}}, {{tar: layer.tar}}]
    base-image: "debian:12"
    architecture: x86_64
    prepare: {{clean: none, resolv-conf: keep, exclude: [/etc/excluded]}}
    set: [{{path: /etc/tool, capability: cap_net_raw+ep, mode: "0711", owner: "5:6"}}]
payloads:
  - ecu: main
    release-keys: [dev, prd]
    rootfs: plain
    sys-config: sys.yaml
    hardware: {{model: orin-agx, series: orin}}
    description: The main computer.
  - {{ecu: sub, rootfs: odd}}
otaclient-package: {{release-dir: otaclient, legacy: true}}
storage: {{{storage}}}
sign:
  certificate: sign.pem
  chain: [intermediate.pem]
  key: {{file: sign.key}}
verify: {{trust: [root.pem]}}
"""


def make_image(case: str, folder: Path) -> Path:
    """Build the image of a case in an empty folder, and return the path of the artifact."""
    credentials(folder)
    otaclient(folder / "otaclient")
    (folder / "sys.yaml").write_text("hostname: main\npersist_files: [/etc/machine-id]\n", encoding="utf-8")
    (folder / "odd.tar").write_bytes(archive(odd()))
    (folder / "layer.tar").write_bytes(archive(layer()))
    artifact = folder / "image.zip"
    profile = f"profile: {case if case in PROFILES else 'update'}"
    build(folder, plain(sliced=case == "sliced"), profile)
    if case == "next-release":
        artifact.rename(folder / "last.zip")
        build(folder, plain(changed=True), f"{profile}, base: last.zip")
    if case == "signed-again":
        signed = ["--certificate", "sign.pem", "--chain", "intermediate.pem", "--key", "sign.key", "--ca", "root.pem"]
        run(folder, "sign", "image.zip", *signed, "--timestamp", LATER)
    return artifact


def build(folder: Path, members: Iterable[Member], storage: str) -> None:
    """Build an image whose plain rootfs has these members."""
    (folder / "plain.tar").write_bytes(archive(members))
    (folder / "image.yaml").write_text(_RECIPE.format(epoch=EPOCH, storage=storage), encoding="utf-8")
    run(folder, "build", "image.yaml")


def run(folder: Path, *arguments: str) -> None:
    """Run `otabuild` in a folder.

    Raises:
        AssertionError: it failed; the message is what it printed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "otabuild", *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def credentials(folder: Path) -> None:
    """Copy the chain, and write the key of its signer."""
    for certificate in CERTIFICATES.iterdir():
        (folder / certificate.name).write_bytes(certificate.read_bytes())
    key = pki.key("signer").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "sign.key").write_bytes(key)
    (folder / "sign.key").chmod(0o600)


def otaclient(folder: Path) -> None:
    """Write a release folder of the client, with one package for each architecture."""
    folder.mkdir()
    packages = []
    for architecture in ("arm64", "x86_64"):
        content = noise(f"otaclient {architecture}", 5000)
        name = f"otaclient-{architecture}-v3.9.1.squashfs"
        (folder / name).write_bytes(content)
        packages.append(
            {
                "filename": name,
                "version": "3.9.1",
                "type": "squashfs",
                "architecture": architecture,
                "size": len(content),
                "checksum": f"sha256:{hashlib.sha256(content).hexdigest()}",
            }
        )
    manifest = {"schema_version": "1", "date": EPOCH, "packages": packages}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def noise(seed: str, size: int) -> bytes:
    """Return bytes that do not compress."""
    return hashlib.shake_256(seed.encode()).digest(size)


def prose(seed: str, size: int) -> bytes:
    """Return bytes that compress like text."""
    words = [f"{byte:x}" * (1 + byte % 5) for byte in noise(seed, size // 3 + 1)]
    return " ".join(words).encode()[:size]


def plain(*, sliced: bool = False, changed: bool = False) -> Iterator[Member]:
    """Yield an ordinary tree.

    Args:
        sliced: with a file so large that it is stored in slices.
        changed: as in the next release: one more file among many, and another with new content.
    """
    for folder in (".", "etc", "usr", "usr/bin", "usr/lib", "usr/lib/many", "usr/share"):
        yield folder, None, {}
    yield "etc/empty", b"", {}
    yield "etc/hostname", b"main\n", {}
    yield "etc/exactly-64", b"x" * 64, {}
    yield "etc/exactly-65", b"x" * 65, {}
    yield "usr/bin/tool", prose("new tool" if changed else "tool", 150_000), {"mode": 0o4755}
    yield "usr/lib/noise", noise("noise", 70_000), {}
    yield "usr/lib/nearly-noise", noise("nearly", 300_000) + noise("nearly", 45_000), {}
    yield "usr/lib/book", prose("book", 500_000), {}
    yield "usr/lib/zeros", bytes(3_000_000), {}
    for number in range(400):
        yield f"usr/lib/many/{number:03}", prose(f"file {number}", 66 + number * 21), {"uid": number % 3}
    for number in range(12):
        yield f"usr/share/part-{number}", prose(f"part {number}", 20_000 + 9000 * number), {}
    if sliced:
        yield "usr/lib/vast", noise("vast", 33 << 20), {}
    if changed:
        yield "usr/lib/many/200-inserted", prose("inserted", 5000), {}


def odd() -> Iterator[Member]:
    """Yield a tree with all that the format can represent."""
    yield ".", None, {"mode": 0o750, "gid": 7}
    yield "etc", None, {"mode": 0o1777}
    yield "etc/a", b"one file, three names\n" * 9, {"uid": 1000, "gid": 1000, "mode": 0o6711}
    yield "etc/b", None, {"type": tarfile.LNKTYPE, "linkname": "etc/a"}
    yield "etc/ö-名", None, {"type": tarfile.LNKTYPE, "linkname": "etc/a"}
    yield "etc/link", None, {"type": tarfile.SYMTYPE, "linkname": "../nowhere/ä"}
    yield "etc/ping", prose("ping", 900), {"pax_headers": {"SCHILY.xattr.user.note": "a note"}}
    yield "etc/whiteout", None, {"type": tarfile.CHRTYPE, "devmajor": 0, "devminor": 0}
    yield "etc/tool", prose("odd tool", 3000), {"pax_headers": {"SCHILY.xattr.user.z": "", "SCHILY.xattr.user.a": "ä"}}
    yield "etc/excluded", b"not in the image\n", {}
    yield "etc/zlib.gz", b"\x1f\x8b\x08\x00" + noise("gz", 2000), {"uid": 4_000_000_000}


def layer() -> Iterator[Member]:
    """Yield what is merged over the odd tree: it replaces one of three names of a file, and adds one."""
    yield ".", None, {"mode": 0o750, "gid": 7}
    yield "etc", None, {"mode": 0o755, "uid": 8}
    yield "etc/b", prose("a file of its own", 700), {}
    yield "etc/new", b"", {"mode": 0o2755}


def archive(members: Iterable[Member]) -> bytes:
    """Return a pax archive of members."""
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content, fields in members:
            member = tarfile.TarInfo(path)
            member.mode, member.mtime = (0o755, 1_700_000_000) if content is None else (0o644, 1_700_000_000)
            member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            for name, value in fields.items():
                setattr(member, name, value)
            member.size = len(content or b"")
            tar.addfile(member, BytesIO(content or b""))
    return out.getvalue()
