"""Bad input results in exit code 1, a helpful message, and no partial output; the messages are golden files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests import pki
from tests.shell.projects import HERE, Project

GOLDEN = HERE / "golden"
NOW = 1_735_689_600  # 2025-01-01, the timestamp of the recipe


def _remove(name: str) -> Callable[[Project], None]:
    return lambda project: (project.root / name).unlink()


def _write(name: str, content: bytes) -> Callable[[Project], None]:
    return lambda project: _replace(project.root / name, content)


def _edit(old: str, new: str) -> Callable[[Project], None]:
    return lambda project: project.edit(old, new)


def _replace(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def _chain(**options: object) -> Callable[[Project], None]:
    """A signing certificate made with these options of `pki.issue`, its key, and the chain above it."""

    def change(project: Project) -> None:
        issuer = pki.issue("intermediate", pki.root(), ca=True, path_length=0)
        party = pki.issue("signer", issuer, **{"eku": [pki.CODE_SIGNING], "not_before": NOW - pki.YEAR, **options})  # type: ignore[arg-type]  # options by name
        _replace(project.root / "pki/sign.pem", party.pem)
        _replace(project.root / "pki/intermediate.pem", issuer.pem)
        _replace(project.root / "pki/sign.key", party.key_pem())

    return change


def _fifo(project: Project) -> None:
    os.mkfifo(project.root / "rootfs/etc/pipe")


def _not_utf8(project: Project) -> None:
    (project.root / "rootfs" / os.fsdecode(b"etc/\xff")).write_text("x")


def _certificate_twice(project: Project) -> None:
    _replace(project.root / "pki/intermediate.pem", (project.root / "pki/sign.pem").read_bytes())


def _swapped(project: Project) -> None:
    project.edit("sign.pem", "swap.pem")
    project.edit("intermediate.pem", "sign.pem")
    project.edit("swap.pem", "intermediate.pem")


def _encrypted_key(project: Project) -> None:
    _replace(project.root / "pki/sign.key", pki.signer().key_pem(b"secret"))


def _wrong_passphrase(project: Project) -> None:
    _encrypted_key(project)
    project.edit("key: {", "passphrase: {env: PHRASE}\n  key: {")
    project.env["PHRASE"] = "wrong"


def _tar_of_garbage(project: Project) -> None:
    project.edit("{directory: ../rootfs}", "{tar: ../x.tar}")
    _replace(project.root / "x.tar", b"garbage" * 999)


def _broken_sys_config(project: Project) -> None:
    project.edit("rootfs: main}", "rootfs: main, sys-config: ../sys.yaml}")
    _replace(project.root / "sys.yaml", b"hostname: [\n")


CASES: dict[str, Callable[[Project], None]] = {
    "certificate-missing": _remove("pki/sign.pem"),
    "certificate-garbage": _write("pki/sign.pem", b"no certificate\n"),
    "certificate-is-a-key": lambda project: _replace(
        project.root / "pki/sign.pem", (project.root / "pki/sign.key").read_bytes()
    ),
    "certificate-expired": _chain(not_before=NOW - 9 * pki.YEAR, not_after=NOW - pki.DAY),
    "certificate-not-yet-valid": _chain(not_before=NOW + pki.DAY),
    "certificate-for-servers": _chain(eku=[pki.SERVER_AUTH]),
    "certificate-without-signing": _chain(usage=["key_encipherment"]),
    "certificate-is-a-ca": _chain(ca=True),
    "certificate-p384": _chain(own_key=pki.key("signer", ec.SECP384R1)),
    "chain-missing": _remove("pki/intermediate.pem"),
    "chain-of-another": lambda project: _replace(project.root / "pki/intermediate.pem", pki.intermediate().pem),
    "chain-swapped": _swapped,
    "chain-is-the-certificate": _certificate_twice,
    "key-missing": _remove("pki/sign.key"),
    "key-garbage": _write("pki/sign.key", b"no key\n"),
    "key-of-another": lambda project: _replace(project.root / "pki/sign.key", pki.root().key_pem()),
    "key-encrypted": _encrypted_key,
    "key-wrong-passphrase": _wrong_passphrase,
    "key-environment-unset": _edit("{file: ../pki/sign.key}", "{env: NO_SUCH_KEY}"),
    "rootfs-missing": _edit("../rootfs", "../nowhere"),
    "rootfs-is-a-file": _edit("../rootfs", "../dodo.py"),
    "rootfs-not-of-root": _edit('    owner: "0:0"\n', ""),
    "rootfs-fifo": _fifo,
    "rootfs-name-not-utf-8": _not_utf8,
    "tar-missing": _edit("{directory: ../rootfs}", "{tar: ../rootfs.tar}"),
    "tar-garbage": _tar_of_garbage,
    "oci-missing": _edit("{directory: ../rootfs}", '{oci: "../layout:tag"}'),
    "overlay-missing": _edit("    owner:", "    overlay: [{directory: ../overlay}]\n    owner:"),
    "sys-config-missing": _edit("rootfs: main}", "rootfs: main, sys-config: ../sys.yaml}"),
    "sys-config-broken": _broken_sys_config,
    "timestamp-in-the-future": _edit("2025-01-01T00:00:00Z", "2999-01-01T00:00:00Z"),
    "timestamp-before-the-certificate": _edit("2025-01-01T00:00:00Z", "1999-01-01T00:00:00Z"),
    "output-is-a-folder": lambda project: (project.root / "dist/vehicle.zip").mkdir(parents=True),
    "output-under-a-file": _write("dist", b"a file\n"),
    "otaclient-package-missing": _edit("verify:", "otaclient-package: {release-dir: ../release}\nverify:"),
}


def _message(project: Project, text: str) -> str:
    """Return the message without the parts that differ between runs."""
    text = text.replace(str(project.root), "ROOT")
    text = re.sub(r"^error: [a-z]+:vehicle(/main)?: ", "error: ", text, flags=re.MULTILINE)
    text = re.sub(r"owner of / is \d+:\d+", "owner of / is UID:GID", text)
    found = re.search(r"^error: .*?(?=\n\n|\nFAILED|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert found, text
    lines = [re.sub(r"\b[12]\d{9}\b", "TIME", line) for line in found[0].rstrip().splitlines()]
    return "\n".join(re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", "DATE", line) for line in lines) + "\n"


@pytest.mark.parametrize("case", CASES)
def test_message(project: Project, case: str) -> None:
    if case == "rootfs-not-of-root" and os.geteuid() == 0:
        pytest.skip("what root makes is root's")
    CASES[case](project)
    before = project.files()
    by_otabuild = project.otabuild("build", "recipes/vehicle.yaml")
    by_doit = project.doit("build")
    assert (by_otabuild.code, by_doit.code) == (1, 1), by_otabuild.err + by_doit.out
    message = _message(project, by_otabuild.err)
    assert _message(project, by_doit.out + by_doit.err) == message
    new = {path for path in project.files() - before if not path.startswith(("build", "__pycache__"))}
    assert new <= {"dist"}
    assert project.leftovers() == []
    golden = GOLDEN / f"{case}.txt"
    if os.environ.get("OTABUILD_TESTS_REGENERATE"):
        golden.write_text(message, encoding="utf-8")
    assert message == golden.read_text(encoding="utf-8"), "if the new words are better: OTABUILD_TESTS_REGENERATE=1"


def test_every_golden_file_has_its_case() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


def test_an_older_artifact_survives_a_failed_build(project: Project) -> None:
    first = project.build()
    (project.root / "rootfs/etc/hostname").write_text("other\n")
    (project.root / "pki/sign.key").write_text("damaged\n")
    assert project.doit("build").code == 1
    assert project.sha256 == first
