"""Building from Python: what a process holds, and for how long."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import otabuild
from otabuild import session
from otabuild.pipeline.own_steps import own_steps
from otabuild.pipeline.workspace import Workspace
from otabuild.storage.lock import WorkLock
from tests.shell.projects import WORK, Project

RECIPE = "recipes/vehicle.yaml"


@pytest.fixture
def inside(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project, with this process in its folder."""
    monkeypatch.chdir(project.root)
    return project


def test_another_process_builds_after_a_build(inside: Project) -> None:
    sha256 = otabuild.build(RECIPE).sha256
    inside.artifact.unlink()
    again = inside.otabuild("build", RECIPE)
    assert again.code == 0, again.err
    assert inside.sha256 == sha256
    assert otabuild.build(RECIPE).sha256 == sha256  # this is still the function, not the package of that name


def test_the_lock_is_let_go_of_when_a_build_fails(inside: Project) -> None:
    inside.edit("../rootfs", "../nowhere")
    with pytest.raises(otabuild.OtabuildError):
        otabuild.build(RECIPE)
    inside.edit("../nowhere", "../rootfs")
    assert inside.otabuild("build", RECIPE).code == 0


def test_no_other_process_builds_during_a_build(inside: Project) -> None:
    codes: list[int] = []

    def tell(_text: str) -> None:
        codes.append(inside.otabuild("build", RECIPE).code)  # OTABUILD_LOCKED, which admits children, is not passed on

    otabuild.build(RECIPE, tell=tell)
    assert set(codes) == {1}


def test_a_lock_is_of_a_folder_whatever_its_name(inside: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    other = inside.root / "other"
    other.mkdir()
    with session.locked(WORK), session.locked(str(inside.root / WORK)):
        monkeypatch.chdir(other)
        with session.locked(WORK):
            assert (other / WORK / "lock").exists()
    WorkLock(str(inside.root / WORK)).acquire(started="now")


def test_a_given_workspace_asks_nothing_of_the_folder(inside: Project, tmp_path: Path) -> None:
    (inside.root / "pyproject.toml").write_text("[tool.otabuild]\nnonsense = 1\n")
    workspace = Workspace(now_ns=time.time_ns(), work=str(tmp_path / "work"))
    assert otabuild.build(RECIPE, workspace=workspace).changed
    assert not (inside.root / WORK).exists()


def test_settings_reach_the_workspace(inside: Project) -> None:
    assert session.make_workspace().cache_limit == 20 << 30
    (inside.root / "pyproject.toml").write_text("[tool.otabuild]\ncache-size = '5MiB'\nwork = 'w'\n")
    workspace = session.make_workspace()
    assert (workspace.cache_limit, workspace.work) == (5 << 20, "w")


def test_an_own_step_for_no_rootfs_is_an_error(inside: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    registered = own_steps()._replace(before_scan={("vehicle", "mian"): lambda: None})
    monkeypatch.setattr("otabuild.pipeline.own_steps._registered", registered)
    with pytest.raises(otabuild.OtabuildError, match=r"input:vehicle/mian: .*rootfs.*main"):
        otabuild.build(RECIPE)
