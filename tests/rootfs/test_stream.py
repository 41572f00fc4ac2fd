from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otabuild.errors import StateError
from otabuild.rootfs.entry import Content, Entry, StatKey
from otabuild.rootfs.stream import EntryCounts, PackedEntries, read_entries, write_entries
from tests.rootfs.trees import folder, regular, symlink

_INT = st.integers(0, 2**63 - 1)
_HOST = st.binary(max_size=20).map(lambda name: name.decode("utf-8", "surrogateescape"))
_KEY = st.builds(StatKey, _INT, st.integers(0, 2**64 - 1), _INT, st.integers(-(2**62), 2**62), _INT)
_CONTENT = st.builds(Content, _HOST, _INT, _INT, st.none() | _KEY, st.none() | st.binary(min_size=32, max_size=32))
_ENTRY = st.builds(
    Entry, st.text(), st.integers(0, 0xFFFF), _INT, _INT, st.dictionaries(st.text(), st.binary()),
    st.none() | st.text(), st.none() | _CONTENT, st.none() | st.text(),
)  # fmt: skip


@given(st.lists(_ENTRY, max_size=5))
def test_what_is_written_is_read_again(entries: list[Entry]) -> None:
    file = io.BytesIO()
    write_entries(file, entries)
    file.seek(0)
    found = list(read_entries(file))
    assert found == entries
    assert all(type(e.content) in (Content, type(None)) for e in found)


@given(st.lists(_ENTRY, max_size=5))
def test_packed_entries_are_those_that_were_packed(entries: list[Entry]) -> None:
    packed = PackedEntries()
    for entry in entries:
        packed[entry.path] = entry
    assert dict(packed) == {entry.path: entry for entry in entries}
    assert len(packed) == len({entry.path for entry in entries})


def test_packed_entries_are_replaced_and_removed() -> None:
    packed = PackedEntries()
    packed["/a"] = regular("/a")
    packed["/a"] = symlink("/a", "b")
    assert packed["/a"] == symlink("/a", "b")
    del packed["/a"]
    assert "/a" not in packed


def test_entries_are_counted() -> None:
    entries = [folder("/"), regular("/a", size=5, link="/a"), regular("/b", size=5, link="/a"), symlink("/c", "a")]
    assert write_entries(io.BytesIO(), entries) == EntryCounts(regular=2, directories=1, others=1, size=10)


def test_a_file_cut_anywhere_is_refused() -> None:
    file = io.BytesIO()
    write_entries(file, [folder("/"), regular("/a"), symlink("/c", "a")])
    whole = file.getvalue()
    for size in range(len(whole)):
        with pytest.raises(StateError):
            list(read_entries(io.BytesIO(whole[:size])))


def test_any_byte_that_flipped_is_refused() -> None:
    file = io.BytesIO()
    write_entries(file, [folder("/"), regular("/a"), symlink("/c", "a")])
    for at in range(len(file.getvalue())):
        damaged = bytearray(file.getvalue())
        damaged[at] ^= 1
        with pytest.raises(StateError):
            list(read_entries(io.BytesIO(bytes(damaged))))
