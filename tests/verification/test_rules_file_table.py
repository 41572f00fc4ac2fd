"""What a path of a file table may be, at its bounds, and how many findings of a rule are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabuild.findings import RULES, SHOWN
from otabuild.image.image import open_image
from otabuild.verification.rules_file_table import FileTableSubject, _path_problem
from tests.image import forge, worlds
from tests.image.forge import Mutation
from tests.verification.tampering import sql

LONGEST = (b"/" + b"d" * 254) * 16 + b"/" + b"f" * 14
"""4,095 bytes."""


@pytest.mark.parametrize("path", [b"/", b"/a", LONGEST, b"/" + b"n" * 255, "/\xe4".encode()], ids=len)
def test_legal_paths(path: bytes) -> None:
    assert _path_problem(path) is None


@pytest.mark.parametrize("path", [b"", b"a", LONGEST + b"f", b"/" + b"n" * 256, b"/a/", b"/a\0", b"/\xff"], ids=len)
def test_other_paths(path: bytes) -> None:
    assert _path_problem(path) is not None


def orphans(count: int) -> Mutation:
    return sql(*(f"INSERT INTO ft_inode VALUES ({100 + n},0,0,33188,NULL,NULL)" for n in range(count)))


@pytest.mark.parametrize(("wrong", "told"), [(20, 20), (21, 21), (30, 21)])
def test_of_the_findings_of_a_rule_twenty_are_told(wrong: int, told: int, tmp_path: Path) -> None:
    found = worlds.verified(forge.forge(file_table=orphans(wrong)).artifact(tmp_path / "image.zip")).findings
    assert {finding.rule for finding in found} == {"table.orphan-inode"}
    assert [str(finding.where).rpartition(": ")[2] for finding in found] == [f"inode {100 + n}" for n in range(told)]
    assert ["more" in finding.what for finding in found] == [number == 20 for number in range(told)]


@pytest.mark.parametrize("wrong", [3, SHOWN, SHOWN + 1, 10 * SHOWN])
def test_a_rule_holds_no_more_rows_than_it_takes_to_tell_that_there_are_more(wrong: int, tmp_path: Path) -> None:
    with open_image(forge.forge(file_table=orphans(wrong)).artifact(tmp_path / "image.zip")) as image:
        found = RULES["table.orphan-inode"].findings(FileTableSubject(image.payload("main").file_table))
        assert len(list(found)) == min(wrong, SHOWN + 1)
