"""What a build tells that stops nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from otabuild.api import build
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
    build("r.yaml", workspace=Workspace(now_ns=2**60 + 10**18, warn=told.append))
    assert any("/no/such/**" in text and "matches nothing" in text for text in told)
    assert not any("unwanted" in text for text in told)
    assert any("/etc/pipe" in text for text in told) is (policy == "warn")
