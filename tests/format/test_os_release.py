"""os-release, as a shell would read it."""

from __future__ import annotations

import pytest

from otabuild.format.os_release import parse_os_release


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"ID=debian", "debian"),
        (b'ID="Debian GNU/Linux"', "Debian GNU/Linux"),
        (b"ID='a b'", "a b"),
        (b"ID=a  b", "a b"),
        (b'ID="\\$5 \\`x\\`"', "$5 `x`"),
        (b'ID="not closed', '"not closed'),
        (b"ID = spaced ", "spaced"),
        (b"ID=\xff\xc3\xa9", "\ufffd\u00e9"),
        (b"ID=a=b", "a=b"),
        (b"# ID=comment\nno sign\nID=last", "last"),
    ],
)
def test_values(line: bytes, value: str) -> None:
    assert parse_os_release(line)["ID"] == value
