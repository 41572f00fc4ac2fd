"""A payload that cannot be read is named in the report, and keeps nobody from the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otabuild.cli import main
from otabuild.errors import TableError
from otabuild.image.image import open_image
from otabuild.report.report_data import make_report
from otabuild.report.report_page import render_page
from tests import pki
from tests.image import forge
from tests.image.forge import Mutation, digest_text

_LEAF = forge.SLICES[0]
BROKEN: dict[str, dict[str, Mutation]] = {
    "no manifest": {"manifests": lambda found: found[1].update(digest=digest_text(b"nowhere"))},
    "manifest of another size": {"manifests": lambda found: found[1].update(size=found[1]["size"] + 1)},
    "manifest that is none": {
        "manifests": lambda found: found[1].update(digest=digest_text(_LEAF), size=len(_LEAF)),
    },
    "no table": {"second": lambda found: found | {"digest": digest_text(b"nowhere")}},
    "table of another size": {"second": lambda found: found | {"size": found["size"] + 1}},
    "table that is none": {"second": lambda found: found | {"digest": digest_text(_LEAF), "size": len(_LEAF)}},
}


def _forged(folder: Path, mutations: dict[str, Mutation], *, is_first: bool = False) -> Path:
    change: Callable[[Any], Any] = mutations.get("manifests", lambda _: None)

    def arrange(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        change(found)
        return [found[1], found[0], found[2]] if is_first else found

    return forge.forge(**{"second": lambda _: None, **mutations, "manifests": arrange}).artifact(folder / "image.zip")


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize("name", BROKEN)
def test_the_others_are_reported(name: str, is_first: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = _forged(tmp_path, BROKEN[name], is_first=is_first)
    assert main(["report", str(bad), "-o", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<h3>Rootfs of main/dev</h3>" in page
    assert page.count("What cannot be read") == 2  # where it is, and a link to it
    assert "sub/dev" in capsys.readouterr().err


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_compared(name: str, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "good").mkdir()
    paths = _forged(tmp_path / "bad", BROKEN[name]), _forged(tmp_path / "good", {})
    for before, after in (paths, paths[::-1]):
        with open_image(before) as base, open_image(after) as new:
            found = make_report(new, base, now=pki.NOW)
            assert found.diff is not None
            assert [(payload.name, payload.kind) for payload in found.diff.payloads] == [("main/dev", "same")]
            assert [payload for payload, _ in found.costs] == ["main/dev"]
            assert {"changes of sub/dev", "cost of sub/dev"} <= {problem for problem, _ in found.problems}
            assert b"cost of sub/dev" in render_page(found)


def test_without_any_payload_there_is_no_report(tmp_path: Path) -> None:
    path = forge.forge(file_table_frame=lambda _: forge.frame(b"no table")).artifact(tmp_path / "image.zip")
    with open_image(path) as image, pytest.raises(TableError, match="not an SQLite database"):
        make_report(image, now=pki.NOW)
