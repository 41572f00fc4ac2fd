"""An error about something named in a recipe includes the file, the line and the key of the recipe."""

from __future__ import annotations

import tarfile
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from otabuild.api import build
from otabuild.errors import OtabuildError
from otabuild.pipeline.lint_recipe import lint_recipe
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.load import load_recipe
from tests import pki

RECIPE = """\
recipe: 1
output: image.zip
timestamp: "2025-01-01T00:00:00Z"
rootfs:
  main:
    source: {source}
    base-image: "demo:1"
    architecture: x86_64
    owner: "0:0"
    {more}
payloads: [{{ecu: main, rootfs: main}}]
{last}
"""
GOOD = "{directory: rootfs}"


def message(source: str = GOOD, more: str = "os: {}", last: str = "") -> str:
    """Return the message of the build of a recipe in the current folder, which must fail."""
    Path("r.yaml").write_text(RECIPE.format(source=source, more=more, last=last))
    with pytest.raises(OtabuildError) as caught:
        build("r.yaml", workspace=Workspace(now_ns=time.time_ns()))
    return str(caught.value)


@pytest.fixture(autouse=True)
def rootfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The rootfs of the recipe, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "rootfs/etc/link").symlink_to("file")
    return tmp_path / "rootfs"


@pytest.mark.parametrize(
    ("source", "key", "path"),
    [
        ("{directory: /abs/nope}", "r.yaml:6:25: rootfs.main.source.directory", "/abs/nope"),
        ("[{directory: rootfs}, {directory: nope}]", "r.yaml:6:47: rootfs.main.source[1].directory", "nope"),
        ("{tar: nope.tar}", "r.yaml:6:19: rootfs.main.source.tar", "nope.tar"),
        ("{oci: 'nope:1'}", "r.yaml:6:19: rootfs.main.source.oci", "nope"),
        ("{docker-archive: nope.tar}", "r.yaml:6:30: rootfs.main.source.docker-archive", "nope.tar"),
    ],
)
def test_a_missing_source(source: str, key: str, path: str) -> None:
    assert message(source).startswith(f"{key}: no such file or folder (observed {path})")


def test_a_missing_overlay() -> None:
    found = message(more="overlay: [{directory: nope}]")
    assert found.startswith("r.yaml:10:27: rootfs.main.overlay[0].directory: no such file or folder (observed nope)")


@pytest.mark.parametrize("path", ["/etc/nope", "/etc/link"])
def test_a_set_rule_that_fits_nothing(path: str) -> None:
    found = message(more=f'set: [{{path: /etc, mode: "0700"}}, {{path: {path}, mode: "0700"}}]')
    assert found.startswith(f"r.yaml:10:46: rootfs.main.set[1].path: {path}: ")


def test_an_entry_that_cannot_be_taken() -> None:
    with tarfile.open("bad.tar", "w") as tar:
        pipe = tarfile.TarInfo("etc/pipe")
        pipe.type = tarfile.FIFOTYPE
        tar.addfile(pipe)
    assert message("{tar: bad.tar}").startswith("r.yaml:6:5: rootfs.main: the rootfs contains ")


def test_a_base_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "base.zip").write_text("garbage")
    place = "r.yaml:12:17: storage.base: base.zip: "
    assert message(last="storage: {base: base.zip}").startswith(place)
    (tmp_path / "base").mkdir()
    assert message(last="storage: {base: base}").startswith("r.yaml:12:17: storage.base: base: not an OTA image: ")


_KINDS = {
    "key": pki.signer().key_pem(),
    "list": pki.crl(pki.root()).public_bytes(Encoding.PEM),
    "certificate": pki.intermediate().pem,
    "text": b"garbage",
    "folder": None,
}
_SIGNED = """\
verify:
  trust: [verify.trust]
  crl: [verify.crl]
sign:
  certificate: sign.certificate
  chain: [sign.chain]
  key: {file: sign.key}
"""
_SIGNED_AT = {
    "verify.trust": ("13:11", "verify.trust[0]", "certificate"),
    "verify.crl": ("14:9", "verify.crl[0]", "list"),
    "sign.certificate": ("16:16", "sign.certificate", "certificate"),
    "sign.chain": ("17:11", "sign.chain[0]", "certificate"),
    "sign.key": ("18:15", "sign.key.file", "key"),
}
_WRONG = [(name, kind) for name, (*_, right) in _SIGNED_AT.items() for kind in _KINDS if kind != right]


@pytest.mark.parametrize(("name", "kind"), _WRONG)
def test_a_file_of_the_wrong_kind(name: str, kind: str, tmp_path: Path) -> None:
    parties = {"sign.certificate": pki.signer(), "sign.chain": pki.intermediate(), "verify.trust": pki.root()}
    for file, party in parties.items():
        pki.save(tmp_path / file, party)
    (tmp_path / "sign.key").write_bytes(pki.signer().key_pem())
    (tmp_path / "verify.crl").write_bytes(pki.crl(pki.root()).public_bytes(Encoding.PEM))
    content = _KINDS[kind]
    (tmp_path / name).unlink()
    if content is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(content)
    place, key, _ = _SIGNED_AT[name]
    assert message(last=_SIGNED).startswith(f"r.yaml:{place}: {key}: {name}: ")


def test_the_same_file_where_it_is_right_and_where_it_is_wrong(tmp_path: Path) -> None:
    for file, party in {"s.pem": pki.signer(), "i.pem": pki.intermediate()}.items():
        pki.save(tmp_path / file, party)
    (tmp_path / "s.key").write_bytes(pki.signer().key_pem())
    signed = "verify: {trust: [i.pem]}\nsign: {certificate: s.pem, chain: [i.pem], key: {file: s.key}}\n"
    assert message(last=signed).startswith("r.yaml:12:18: verify.trust[0]: i.pem: no trust anchor")


def test_lint_tells_them_too(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE.format(source="{tar: nope.tar}", more="os: {}", last=""))
    with pytest.raises(OtabuildError, match=r"^r.yaml:6:19: rootfs.main.source.tar: nope.tar: "):
        list(lint_recipe(load_recipe("r.yaml"), Workspace(now_ns=time.time_ns())))
