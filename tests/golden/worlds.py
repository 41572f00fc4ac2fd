"""The worlds whose images are pinned: two trees as archives made in code, and recipes that use every key of bytes.

Nothing of this machine enters: owners, times and attributes stand in the archives, certificates and keys are derived.
Images are made by the command alone, so the pins outlive any change of the code behind it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from tests import pki

EPOCH = "2026-01-01T00:00:00Z"
LATER = "2026-02-02T00:00:00Z"
FOREVER = pki.NOW + 70 * pki.YEAR
PROFILES = ("update", "size", "reference")
CASES = (*PROFILES, "sliced", "signed-again")

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
    source: {{tar: odd.tar}}
    base-image: "debian:12"
    architecture: x86_64
    prepare: {{clean: none, resolv-conf: keep}}
payloads:
  - ecu: main
    release-keys: [dev, prd]
    rootfs: plain
    sys-config: sys.yaml
    hardware: {{model: orin-agx, series: orin}}
    description: The main computer.
  - {{ecu: sub, rootfs: odd}}
otaclient-package: {{release-dir: otaclient, legacy: true}}
storage: {{profile: {profile}}}
sign:
  certificate: sign.pem
  chain: [intermediate.pem]
  key: {{file: sign.key}}
verify: {{trust: [root.pem]}}
"""


def make_image(case: str, folder: Path) -> Path:
    """Build the image of a case in an empty folder, and return the path of the artifact."""
    certificates(folder)
    (folder / "plain.tar").write_bytes(archive(plain(sliced=case == "sliced")))
    (folder / "odd.tar").write_bytes(archive(odd()))
    (folder / "sys.yaml").write_text("hostname: main\npersist_files: [/etc/machine-id]\n", encoding="utf-8")
    otaclient(folder / "otaclient")
    profile = case if case in PROFILES else "update"
    (folder / "image.yaml").write_text(_RECIPE.format(epoch=EPOCH, profile=profile), encoding="utf-8")
    run(folder, "build", "image.yaml")
    if case == "signed-again":
        signed = ["--certificate", "sign.pem", "--chain", "intermediate.pem", "--key", "sign.key", "--ca", "root.pem"]
        run(folder, "sign", "image.zip", *signed, "--timestamp", LATER)
    return folder / "image.zip"


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


def certificates(folder: Path) -> None:
    """Write a chain that does not end in our time, and the key."""
    root = pki.issue("root", not_after=FOREVER)
    intermediate = pki.issue("intermediate", root, ca=True, path_length=0, not_after=FOREVER)
    signer = pki.issue("signer", intermediate, eku=[pki.CODE_SIGNING], not_after=FOREVER)
    for name, party in {"root": root, "intermediate": intermediate, "sign": signer}.items():
        pki.save(folder / f"{name}.pem", party)
    (folder / "sign.key").write_bytes(signer.key_pem())
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


def plain(*, sliced: bool) -> Iterator[tuple[str, bytes | None, dict[str, object]]]:
    """Yield (path, content or None for a directory, fields of the header) of an ordinary tree."""
    for folder in (".", "etc", "usr", "usr/bin", "usr/lib", "usr/lib/many", "usr/share"):
        yield folder, None, {}
    yield "etc/empty", b"", {}
    yield "etc/hostname", b"main\n", {}
    yield "etc/exactly-64", b"x" * 64, {}
    yield "etc/exactly-65", b"x" * 65, {}
    yield "usr/bin/tool", prose("tool", 150_000), {"mode": 0o4755}
    yield "usr/lib/noise", noise("noise", 70_000), {}
    yield "usr/lib/zeros", bytes(3_000_000), {}
    for number in range(400):
        yield f"usr/lib/many/{number:03}", prose(f"file {number}", 66 + number * 21), {"uid": number % 3}
    for number in range(12):
        yield f"usr/share/part-{number}", prose(f"part {number}", 20_000 + 9000 * number), {}
    if sliced:
        yield "usr/lib/vast", noise("vast", 33 << 20), {}


def odd() -> Iterator[tuple[str, bytes | None, dict[str, object]]]:
    """Yield the members of a tree with all that the format can represent."""
    yield ".", None, {"mode": 0o750, "gid": 7}
    yield "etc", None, {"mode": 0o1777}
    yield "etc/a", b"one file, three names\n" * 9, {"uid": 1000, "gid": 1000, "mode": 0o6711}
    yield "etc/b", None, {"type": tarfile.LNKTYPE, "linkname": "etc/a"}
    yield "etc/ö-名", None, {"type": tarfile.LNKTYPE, "linkname": "etc/a"}
    yield "etc/link", None, {"type": tarfile.SYMTYPE, "linkname": "../nowhere/ä"}
    yield "etc/ping", prose("ping", 900), {"pax_headers": {"SCHILY.xattr.user.note": "a note"}}
    yield "etc/whiteout", None, {"type": tarfile.CHRTYPE, "devmajor": 0, "devminor": 0}
    yield "etc/zlib.gz", b"\x1f\x8b\x08\x00" + noise("gz", 2000), {"uid": 4_000_000_000}


def archive(members: Iterator[tuple[str, bytes | None, dict[str, object]]]) -> bytes:
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
