"""Files of root whose mode clients do not keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabuild.format.limits import INLINE as LARGEST_INLINE
from otabuild.image.image import open_image
from otabuild.lint.lint_image import lint_image
from otabuild.pipeline.lint_recipe import lint_recipe
from otabuild.recipe.load import load_recipe
from tests import pki
from tests.image import forge
from tests.image.products import NOW, Tree, build, workspace

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


BIG, OTHER = b"large enough to be stored " * 9, b"another content of this size" * 9


@pytest.mark.parametrize(
    ("tree", "found"),
    [
        ({"a": (b"", 0o666)}, ["/a: mode 0666 becomes 0644"]),
        ({"a": (b"x" * 64, 0o620)}, ["/a: mode 0620 becomes 0600"]),
        ({"a": (b"x" * 65, 0o666)}, []),
        ({"a": (BIG, 0o666), "b": (BIG, 0o622)}, ["/b: mode 0622 becomes 0600"]),
        ({"a": (BIG, 0o644), "b": (BIG, 0o644), "c": (BIG, 0o646)}, ["/c: mode 0646 becomes 0644"]),
        ({"a": (BIG, 0o666), "=b": "a"}, []),
        (
            {"a": (BIG, 0o644), "b": (BIG, 0o666), "=c": "b"},
            ["/b: mode 0666 becomes 0644", "/c: mode 0666 becomes 0644"],
        ),
        ({"a": (OTHER[: len(BIG)], 0o644), "b": (BIG, 0o666)}, []),
        ({"a": (b"", 0o755), "d": (None, 0o777), "l": "a"}, []),
    ],
)
@pytest.mark.parametrize("owner", ["0:0", "0:5"])
def test_a_recipe_is_told_what_its_image_would_be(tree: Tree, found: list[str], owner: str, tmp_path: Path) -> None:
    path = build(tmp_path, tree, rootfs={"owner": owner})
    expected = found if owner == "0:0" else []
    with open_image(path) as image:
        of_image = [finding for finding in lint_image(image, NOW) if finding.rule == "loses-write"]
    recipe = load_recipe(tmp_path / "recipe.yaml")
    of_recipe = [found for found in lint_recipe(recipe, workspace(tmp_path)) if found.rule == "loses-write"]
    for findings, place in ((of_image, "main/dev: "), (of_recipe, "rootfs main: ")):
        assert [f"{str(each.where).removeprefix(place)}: {each.what}" for each in findings] == expected
        stored = len(tree["a"][0] or b"") > LARGEST_INLINE
        assert {each.observed for each in findings} <= {"the content of /a" if stored else None}
