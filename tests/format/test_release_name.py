"""The names of releases: parts of names of files and of URLs, on every store."""

from __future__ import annotations

import pytest

from otabuild.errors import InputError
from otabuild.format.release_name import check_release_name


@pytest.mark.parametrize("name", ["1", "1.4.2", "release 7", "é" * 64, "a" * 128, "a.", "~x", "sha256:0"])
def test_names(name: str) -> None:
    check_release_name(name)


@pytest.mark.parametrize(
    "name", ["", " a", "a ", ".", "..", ".a", "a/b", "/", "a@b", "a\\b", "a\nb", "\0", "é" * 64 + "a", "a" * 300]
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(InputError, match="not a name for a release"):
        check_release_name(name)
