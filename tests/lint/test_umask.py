"""Files of root whose mode clients do not keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabuild.image.image import open_image
from otabuild.lint.lint_image import lint_image
from tests import pki
from tests.image import forge

EMPTY, INLINED, LINKED, FIRST, LATER = 10, 11, 14, 15, 18
"""Inodes of the forged image; those with one content are /bin/copy (18) and /bin/random (15)."""


@pytest.mark.parametrize(
    ("inode", "change", "found"),
    [
        (EMPTY, "mode = mode | 2", ["/etc/empty: mode 0646 becomes 0644"]),
        (INLINED, "mode = mode | 16, uid = 0, gid = 0", ["/etc/motd: mode 0620 becomes 0600"]),
        (FIRST, "mode = mode | 18", ["/bin/random: mode 0666 becomes 0644"]),
        (LATER, "mode = mode | 18", []),
        (LINKED, "mode = mode | 18", []),
        (INLINED, "mode = mode | 18", []),
        (EMPTY, "mode = mode | 18, gid = 5", []),
        (EMPTY, "mode = mode | 64", []),
    ],
)
def test_write_that_is_lost_is_told(inode: int, change: str, found: list[str], tmp_path: Path) -> None:
    def changed(table: object) -> None:
        table.execute(f"UPDATE ft_inode SET {change} WHERE inode_id = {inode}")  # type: ignore[attr-defined]

    with open_image(forge.forge(file_table=changed).artifact(tmp_path / "image.zip")) as image:
        told = [finding for finding in lint_image(image, pki.NOW) if finding.rule == "loses-write"]
    assert [f"{str(finding.where).removeprefix('main/dev: ')}: {finding.what}" for finding in told] == found
