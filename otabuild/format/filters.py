"""The three filters of a resource: bundle, compress, slice (section 7)."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from otabuild.errors import FilterError, LimitError
from otabuild.format import limits

_MAX_ID = 2**63 - 1


class Bundled(NamedTuple):
    """The content is `length` bytes of the resolved resource `bundle_id`, starting at `offset`."""

    bundle_id: int
    offset: int
    length: int

    def pack(self) -> bytes:
        """The value of `filter_applied`."""
        return b"b:" + _pack([self.bundle_id, self.offset, self.length])


class Compressed(NamedTuple):
    """The content is the decompressed zstd frame of the resolved resource `resource_id`."""

    resource_id: int

    def pack(self) -> bytes:
        """The value of `filter_applied`."""
        return b"c:" + _pack([self.resource_id, "zstd"])


class Sliced(NamedTuple):
    """The content is the concatenation of the leaves `resource_ids`; ids may repeat."""

    resource_ids: tuple[int, ...]

    def pack(self) -> bytes:
        """The value of `filter_applied`."""
        return b"s:" + _pack(list(self.resource_ids))


Filter = Bundled | Compressed | Sliced


def _pack(options: list[int | str]) -> bytes:
    return bytes(msgpack.packb(options))


def parse_filter(raw: bytes, where: str) -> Filter:
    """Return the filter in a `filter_applied` column.

    Raises:
        FilterError: an unknown code, options of the wrong number, type or range, or trailing bytes.
        LimitError: options over 1 MiB, or more than 65,536 slices.
    """
    code, colon, packed = raw.partition(b":")
    if not colon or code not in (b"b", b"c", b"s"):
        raise FilterError("unknown filter", where=where, observed=raw[:20], expected="b:, c: or s:")
    if len(packed) > limits.FILTER_OPTIONS:
        raise LimitError(
            "filter options too large",
            where=where,
            observed=len(packed),
            expected=limits.FILTER_OPTIONS,
        )
    options = _unpack(packed, where)
    match code, options:
        case b"b", [bundle_id, offset, length] if _are_ids(options):
            return Bundled(bundle_id, offset, length)
        case b"c", [resource_id, "zstd"] if _are_ids([resource_id]):
            return Compressed(resource_id)
        case b"s", [_, *_] if _are_ids(options):
            return Sliced(tuple(options))
    raise FilterError(
        "filter options are wrong",
        where=where,
        observed=f"{code.decode()}: {options!r:.80}",
        expected=(
            "b: [bundle id, offset, length], c: [resource id, 'zstd'] or s: [leaf "
            "id, ...], all from 0"
        ),
    )


def _unpack(packed: bytes, where: str) -> list[Any]:
    try:
        options = msgpack.unpackb(
            packed, max_array_len=limits.SLICES, max_map_len=0, max_ext_len=0, max_bin_len=0
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise FilterError(
            "filter options are not MessagePack", where=where, observed=error
        ) from None
    if not isinstance(options, list):
        raise FilterError("filter options are not a list", where=where, observed=repr(options)[:80])
    return options


def _are_ids(values: list[Any]) -> bool:
    for value in values:  # noqa: SIM110 -- `all` takes four times as long for three ids, and a table has many such lists
        # Not isinstance: MessagePack has booleans, and True is an int to Python.
        if type(value) is not int or not 0 <= value <= _MAX_ID:
            return False
    return True
