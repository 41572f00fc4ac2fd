"""Names of files are bytes, and those of an image UTF-8: the locale has no say in reading, writing and showing them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.shell.projects import Project

NAMES = ("grün", "日本", "\uff41", "\U0001f600")
ENCODINGS = ("ISO-8859-1", "EUC-JP", "ascii")


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of compiled locales."""
    if shutil.which("localedef") is None:
        pytest.skip("needs localedef")
    folder = tmp_path_factory.mktemp("locales")
    for source, encoding in (("en_US", "ISO-8859-1"), ("ja_JP", "EUC-JP")):
        command = ["localedef", "-i", source, "-f", encoding, str(folder / f"x.{encoding}")]
        subprocess.run(command, check=False, capture_output=True)
        if not (folder / f"x.{encoding}").is_dir():
            pytest.skip("needs the sources of locales (Debian: locales)")
    return folder


def surroundings(locales: Path, encoding: str) -> dict[str, str]:
    if encoding == "ascii":
        return {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    return {"LOCPATH": str(locales), "LC_ALL": f"x.{encoding}", "PYTHONUTF8": "0"}


@pytest.fixture
def named(project: Project) -> Project:
    for name in NAMES:
        (project.root / "rootfs/etc" / name).write_text(name, encoding="utf-8")
        (project.root / "rootfs/etc" / f"link-{name}").symlink_to(name)
    return project


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("command", ["otabuild", "doit"])
def test_the_same_tree_gives_the_same_image(named: Project, locales: Path, encoding: str, command: str) -> None:
    assert named.run("-m", "otabuild", "build", "recipes/vehicle.yaml").code == 0
    expected = named.sha256
    shutil.rmtree(named.root / "build")
    named.artifact.unlink()
    words = ("otabuild", "build", "recipes/vehicle.yaml") if command == "otabuild" else ("doit", "build")
    ended = named.run("-m", *words, umask=-1, **surroundings(locales, encoding))
    assert ended.code == 0, ended.err
    assert named.sha256 == expected


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_names_are_shown_and_written_as_they_are(named: Project, locales: Path, encoding: str) -> None:
    env = surroundings(locales, encoding)
    assert named.run("-m", "otabuild", "build", "recipes/vehicle.yaml").code == 0
    listed = named.run("-m", "otabuild", "ls", "dist/vehicle.zip", "--ecu-id", "main", "/etc", umask=-1, **env)
    assert listed.code == 0
    assert all(name in listed.out for name in NAMES)
    words = ("deploy-image", "--image", "dist/vehicle.zip", "--ecu-id", "main", "--insecure-no-verify", "--no-owner")
    assert named.run("-m", "otabuild", *words, "--rootfs-dir", "out", umask=-1, **env).code == 0
    there = {name for name in os.listdir(os.fsencode(named.root / "out/etc")) if not name.isascii()}
    assert there == {prefix + name.encode() for name in NAMES for prefix in (b"", b"link-")}


@pytest.mark.parametrize("what", ["build", "deploy"])
def test_a_program_of_its_own_is_told(named: Project, what: str) -> None:
    """It cannot be started again from within."""
    assert named.run("-m", "otabuild", "build", "recipes/vehicle.yaml").code == 0
    (named.root / "rootfs/etc/hostname").write_text("other\n")
    program = {
        "build": "otabuild.build('recipes/vehicle.yaml')",
        "deploy": "otabuild.deploy(otabuild.open_image('dist/vehicle.zip').payload('main'), 'out', None, 2**31, "
        "insecure_no_verify=True)",
    }[what]
    code = f"import otabuild\ntry: {program}\nexcept otabuild.OtabuildError as error: print(error)"
    ended = named.run("-c", code, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert "another encoding than UTF-8" in ended.out
    assert "PYTHONUTF8=1" in ended.out


def test_what_an_output_cannot_show_is_escaped(named: Project) -> None:
    assert named.run("-m", "otabuild", "build", "recipes/vehicle.yaml").code == 0
    words = ("ls", "dist/vehicle.zip", "--ecu-id", "main", "/etc")
    listed = named.run("-m", "otabuild", *words, PYTHONIOENCODING="ascii", PYTHONUTF8="1")
    assert (listed.code, listed.err) == (0, "")
    assert "gr\\xfcn" in listed.out
