"""The messages and warnings of a build."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from otabuild.api import build
from otabuild.errors import RecipeError
from otabuild.pipeline.workspace import Workspace

RECIPE = """
recipe: 1
output: image.zip
timestamp: "2026-01-01T00:00:00Z"
rootfs:
  main:
    source: {{directory: rootfs}}
    base-image: "demo:1"
    architecture: x86_64
    owner: "0:0"
    unsupported: {policy}
    prepare: {{exclude: ["/no/such/**", "/etc/unwanted"]}}
payloads: [{{ecu: main, rootfs: main}}]
"""
LATER = 2**60 + 10**18  # the files made by the tests are old by then


@pytest.mark.parametrize("policy", ["warn", "skip"])
def test_what_is_left_out_and_what_matches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    monkeypatch.chdir(tmp_path)
    etc = tmp_path / "rootfs" / "etc"
    etc.mkdir(parents=True)
    (etc / "unwanted").write_text("x")
    os.mkfifo(etc / "pipe")
    (tmp_path / "r.yaml").write_text(RECIPE.format(policy=policy))
    told: list[str] = []
    build("r.yaml", workspace=Workspace(now_ns=LATER, warn=told.append))
    assert "r.yaml:12:25: rootfs.main.prepare.exclude[0]: the pattern matches nothing (observed /no/such/**)" in told
    assert not any("unwanted" in text for text in told)
    assert any("/etc/pipe" in text for text in told) is (policy == "warn")


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_of_contents_ends_at_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rootfs").mkdir()
    for number in range(1100):  # so many that digests of the first are recorded before the last is examined
        (tmp_path / f"rootfs/{number}").write_text(f"{number}" * 40)
    for number in range(40):  # so many that the first are stored before the others are started
        (tmp_path / f"rootfs/large{number}").write_bytes(bytes([number]) * ((1 << 20) + 1))
    (tmp_path / "r.yaml").write_text(RECIPE.format(policy="error"))
    seen: list[tuple[int, int]] = []

    def note(what: str, done: int, total: int) -> None:
        if what == "store r":
            seen.append((done, total))

    build("r.yaml", workspace=Workspace(now_ns=LATER, workers=workers, progress=note))
    assert seen[-1][0] == seen[-1][1] > 40 << 20
    assert seen == sorted(seen)


def test_an_output_in_the_work_directory_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(RECIPE.format(policy="warn"))
    with pytest.raises(RecipeError, match=r"recipe.yaml:3:9: output: is inside the work directory"):
        build("recipe.yaml", workspace=Workspace(work=".", now_ns=LATER))
    assert not Path("CACHEDIR.TAG").exists()
