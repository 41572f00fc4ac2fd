"""Paths inside a payload: what is said of one that leads nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabuild.errors import InputError
from otabuild.image.image import open_image
from tests.image import forge


def image_with_link(folder: Path, target: str) -> Path:
    """Make an image whose /etc/link leads to this target."""
    return forge.forge(
        file_table=lambda table: table.execute(
            "UPDATE ft_non_regular SET meta = ? WHERE path = '/etc/link'", (target.encode(),)
        )
    ).artifact(folder / "image.zip")


@pytest.mark.parametrize("target", ["nowhere", "/bin/nowhere", "../nowhere/at/all", "motd/x", "../../etc/none"])
@pytest.mark.parametrize("path", ["/etc/link", "/etc/link/below", "/l1/link"])
def test_a_dangling_link_is_called_one(target: str, path: str, tmp_path: Path) -> None:
    with (
        open_image(image_with_link(tmp_path, target)) as image,
        pytest.raises(InputError, match="a symlink leads to nothing") as caught,
    ):
        image.payload("main").open(path)
    assert caught.value.observed == f"/etc/link -> {target}"


@pytest.mark.parametrize("path", ["/etc/nowhere", "/l1/nowhere", "/etc/link/nowhere", "/etc/link/nowhere/at/all"])
def test_a_path_that_is_missing_behind_a_good_link_is_not(path: str, tmp_path: Path) -> None:
    with (
        open_image(image_with_link(tmp_path, "../bin")) as image,
        pytest.raises(InputError, match="no such path in the payload"),
    ):
        image.payload("main").open(path)
