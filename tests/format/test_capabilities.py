"""File capabilities as text and as bytes (section 6)."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otabuild.errors import InputError
from otabuild.format.capabilities import CAPABILITIES, format_capability, parse_capability


def packed(permitted: int, inheritable: int = 0, magic: int = 0x02000000) -> bytes:
    return struct.pack(
        "<5I", magic, permitted & 0xFFFFFFFF, inheritable & 0xFFFFFFFF, permitted >> 32, inheritable >> 32
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("cap_net_raw+ep", packed(1 << 13, magic=0x02000001)),
        ("cap_net_raw=p", packed(1 << 13)),
        ("CAP_NET_RAW+P", packed(1 << 13)),
        ("net_raw,chown+i", packed(0, 1 << 13 | 1)),
        ("cap_chown+p cap_kill+ip", packed(1 | 1 << 5, 1 << 5)),
        ("=p", packed((1 << 41) - 1)),
        ("cap_checkpoint_restore+eip", packed(1 << 40, 1 << 40, 0x02000001)),
    ],
)
def test_a_text_and_its_value(text: str, value: bytes) -> None:
    assert parse_capability(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a file has one effective flag for all its capabilities"),
        ("cap_chown+ep cap_kill+p", "a file has one effective flag for all its capabilities"),
        ("cap_chown", "expected names, `+` or `=`, and flags of e, i and p"),
        ("cap_chown+x", "expected names, `+` or `=`, and flags of e, i and p"),
        ("cap_fly+p", "cap_fly is not a capability"),
        ("cap_chown,+p", " is not a capability"),
    ],
)
def test_a_text_that_is_none(text: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_capability(text)
    assert f"not a capability text: {why}" in str(caught.value)
    assert caught.value.observed == text
    assert caught.value.expected == "as in cap_net_raw+ep"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (packed(1 << 13, magic=0x02000001), "cap_net_raw+ep"),
        (packed(1 | 1 << 5, 1 << 5), "cap_chown+p cap_kill+ip"),
        (packed(0, 1), "cap_chown+i"),
        (packed(0), "none"),
        (packed(1 << 40 | 1 << 41 | 1 << 63), "cap_checkpoint_restore,cap_41,cap_63+p"),
        (struct.pack("<3I", 0x01000001, 1, 2), "cap_chown+ep cap_dac_override+ei"),
        (struct.pack("<3I", 0x01000000, 1 << 31, 1 << 31), "cap_setfcap+ip"),
        (packed(1, magic=0x03000001) + bytes(4), "cap_chown+ep"),
        (packed(1)[:-1], packed(1)[:-1].hex()),
        (packed(1, magic=0x04000000), packed(1, magic=0x04000000).hex()),
        (b"\0\0\0", "000000"),
        (b"\0\0\0\2", "00000002"),
    ],
)
def test_a_value_and_its_text(value: bytes, text: str) -> None:
    assert format_capability(value) == text


@given(st.integers(0, (1 << len(CAPABILITIES)) - 1), st.integers(0, (1 << len(CAPABILITIES)) - 1), st.booleans())
def test_the_text_of_a_value_means_that_value(permitted: int, inheritable: int, effective: bool) -> None:
    value = packed(permitted, inheritable, 0x02000000 | effective)
    text = format_capability(value)
    assert text == "none" or parse_capability(text) == value
