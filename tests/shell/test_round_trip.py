"""Built, verified and deployed by the commands: the resulting tree equals the original tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image import worlds
from tests.rootfs.trees import nasty_tree
from tests.shared import ORACLE, TOOLS
from tests.shell.projects import Ended, Project, make_project

REPOSITORY = Path(__file__).parents[2]
NOBODY = 65534
KEEP_ALL = """\
    owner: "0:0"
    os: {name: Test, version: "1"}
    prepare: {clean: none, resolv-conf: keep}
    xattrs: {drop: []}
"""
# Imported as root, because the interpreter may be in a place that others cannot read.
AS_NOBODY = f"""
import os, sys, encodings.idna
import otabuild.cli, otabuild.format.jws, otabuild.deployment.deploy, otabuild.deployment.deploy_tar, otabuild.progress
otabuild.cli.make_parser()
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
sys.argv[0] = "otabuild"
sys.exit(otabuild.cli.main())
"""
pytestmark = [pytest.mark.root, pytest.mark.skipif(not worlds.IS_ROOT, reason="needs root")]


def built(project: Project) -> Project:
    project.edit('    owner: "0:0"\n', KEEP_ALL.replace('    owner: "0:0"\n', ""))
    done = project.doit("build", "verify")
    assert done.code == 0, done.out + done.err
    return project


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike those of pytest."""
    path = Path(tempfile.mkdtemp(prefix="otabuild-tests-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def nasty(open_folder: Path) -> Project:
    project = make_project(open_folder / "product")
    shutil.rmtree(project.root / "rootfs")
    nasty_tree(project.root / "rootfs", seed=7)
    return built(project)


def deploy(project: Project, target: Path, *more: str, umask: int = -1) -> None:
    image = ("--image", str(project.artifact), "--ecu-id", "main", "--ca-dir", str(project.root / "pki"))
    done = project.otabuild("deploy-image", *image, "--rootfs-dir", str(target), *more, umask=umask)
    assert done.code == 0, done.err


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nasty_tree_comes_back(umask: int, nasty: Project, tmp_path: Path) -> None:
    deploy(nasty, tmp_path / "tree", umask=umask)
    assert worlds.describe(tmp_path / "tree") == worlds.describe(nasty.root / "rootfs")


@pytest.mark.skipif(not TOOLS.is_dir(), reason="the independent tools are not here")
def test_nasty_tree_of_the_independent_tool_comes_back(project: Project, tmp_path: Path) -> None:
    shutil.rmtree(project.root / "rootfs")
    source = project.root / "rootfs"
    subprocess.run([sys.executable, TOOLS / "make_rootfs.py", "nasty", source], check=True)
    built(project)
    deploy(project, tmp_path / "tree")
    assert worlds.describe(tmp_path / "tree") == worlds.describe(source)
    compare: list[str | Path] = [sys.executable, ORACLE, "compare", source, tmp_path / "tree"]
    judged = subprocess.run(compare, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr


def as_nobody(project: Project, folder: Path, *arguments: str, umask: int = -1) -> Ended:
    """Run deploy-image as a user without any privileges, in a separate folder."""
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    image = ("--image", str(project.artifact), "--ecu-id", "main", "--ca", str(project.root / "pki/root-ca.pem"))
    command = (AS_NOBODY, "deploy-image", *image, *arguments)
    return project.run("-c", *command, cwd=str(folder), umask=umask, PYTHONPATH=str(REPOSITORY))


@pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not here")
def test_tar_of_an_unprivileged_user_holds_the_tree(nasty: Project, open_folder: Path, tmp_path: Path) -> None:
    done = as_nobody(nasty, open_folder / "tar", "--to-tar", "tree.tar")
    assert done.code == 0, done.err
    (tmp_path / "tree").mkdir()
    with (open_folder / "tar/tree.tar").open("rb") as tar:
        unpack: list[str | Path] = ["tar", "--xattrs", "--xattrs-include=*", "-xp", "-C", tmp_path / "tree"]
        subprocess.run(unpack, stdin=tar, check=True)
    assert worlds.describe(tmp_path / "tree") == worlds.describe(nasty.root / "rootfs")


def test_d9_tree_of_an_unprivileged_user_is_refused_up_front(nasty: Project, open_folder: Path) -> None:
    done = as_nobody(nasty, open_folder / "tree", "--rootfs-dir", "tree")
    assert done.code == 1
    assert "the target cannot store this payload" in done.err or "cannot set the owner" in done.err
    assert list((open_folder / "tree").iterdir()) == []


@pytest.mark.parametrize("umask", [0o022, 0o777])
def test_no_owner_gives_the_contents_to_an_unprivileged_user(open_folder: Path, umask: int) -> None:
    project = built(make_project(open_folder / f"plain-{umask}"))
    done = as_nobody(project, open_folder / f"no-owner-{umask}", "--rootfs-dir", "tree", "--no-owner", umask=umask)
    assert done.code == 0, done.err
    found = worlds.describe(open_folder / f"no-owner-{umask}/tree")
    expected = worlds.describe(project.root / "rootfs")
    assert found == {path: facts | {"owner": (NOBODY, NOBODY)} for path, facts in expected.items()}
