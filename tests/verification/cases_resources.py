"""Tampered resource tables, filters, frames and blobs: threats F, J9 and parts of T."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgpack

from tests.image import forge
from tests.image.forge import Mutation, frame, sha256
from tests.verification.tampering import Case, case, sql


def resources() -> Iterator[Case]:
    pack: Callable[[Any], bytes] = msgpack.packb

    def filter_of(resource_id: int, packed: bytes) -> Mutation:
        return sql(("UPDATE rs_manifest SET filter_applied = ? WHERE resource_id = ?", (packed, resource_id)))

    for name, packed in {
        "unknown-code": b"x:" + pack([1]),
        "no-colon": b"b",
        "empty": b"",
        "trailing": b"b:" + pack([20, 0, 108]) + b"\0",
        "arity-2": b"b:" + pack([20, 0]),
        "arity-4": b"b:" + pack([20, 0, 108, 0]),
        "bool": b"b:" + pack([20, False, 108]),
        "float": b"b:" + pack([20, 0.0, 108]),
        "text": b"b:" + pack(["20", 0, 108]),
        "negative": b"b:" + pack([20, -1, 108]),
        "2^64-1": b"b:" + pack([20, 2**64 - 1, 108]),
        "outside": b"b:" + pack([20, 200, 108]),
        "other-length": b"b:" + pack([20, 0, 107]),
        "algorithm": b"c:" + pack([20, "lz4"]),
        "no-algorithm": b"c:" + pack([20]),
        "self": b"b:" + pack([1, 0, 108]),
        "dangling": b"b:" + pack([99, 0, 108]),
        "map": b"b:" + pack({}),
        "no-slices": b"s:" + pack([]),
    }.items():
        yield case(f"F2-{name}", "resources.filters", "FilterError", resource_table=filter_of(1, packed))
    yield case(
        "F1-self-compress", "resources.filters", "FilterError", resource_table=filter_of(3, b"c:" + pack([3, "zstd"]))
    )
    yield case("F1-self-slice", "resources.filters", "FilterError", resource_table=filter_of(4, b"s:" + pack([4])))
    two = sql(
        ("UPDATE rs_manifest SET filter_applied = ? WHERE resource_id = 3", (b"c:" + pack([5, "zstd"]),)),
        ("UPDATE rs_manifest SET filter_applied = ? WHERE resource_id = 5", (b"c:" + pack([3, "zstd"]),)),
    )
    yield case("F1-two-cycle", "resources.filters", "FilterError", resource_table=two)
    yield case("F1-long-chain", "resources.filters", "FilterError", resource_table=_long_chain)
    # No payload reaches it, so it keeps none from being deployed.
    yield case("F1-deep-bundle", "resources.filters", None, resources=partial(_deep, steps=4))
    yield case(
        "F3-dangling", "resources.filters", "FilterError", resource_table=filter_of(3, b"c:" + pack([99, "zstd"]))
    )
    yield case(
        "F3-dangling-slice", "resources.filters", "FilterError", resource_table=filter_of(4, b"s:" + pack([13, 99]))
    )
    yield case(
        "F3-filtered-slice", "resources.filters", "FilterError", resource_table=filter_of(4, b"s:" + pack([13, 3]))
    )
    yield case("F5-sum", "resources.filters", "FilterError", resource_table=filter_of(4, b"s:" + pack([13, 13])))
    many = b"s:" + pack([13] * 70_000)
    yield case("F5-many", "resources.filters", "FilterError", resource_table=filter_of(4, many))
    large = sql("UPDATE rs_manifest SET size = 67108865 WHERE resource_id = 20")
    yield case("F2-large-bundle", "resources.filters", "FilterError", resource_table=large)
    short = sql("UPDATE rs_manifest SET digest = x'00' WHERE resource_id = 10")
    yield case("T11-resource-digest", "resources.row blobs.extra", "IntegrityError", resource_table=short)
    negative = sql("UPDATE rs_manifest SET size = -1 WHERE resource_id = 10")
    yield case("T11-resource-size", "resources.row resources.leaves", "IntegrityError", resource_table=negative)
    made = sql("UPDATE rs_manifest SET size = -1 WHERE resource_id = 20")
    yield case("T11-bundle-size", "resources.row", "IntegrityError", resource_table=made)
    other = sql("UPDATE rs_manifest SET size = size + 1 WHERE resource_id = 10")
    yield case("T11-leaf-size", "resources.leaves content", "IntegrityError", resource_table=other)
    swapped = filter_of(2, b"b:" + pack([20, 0, 140]))
    if len(forge.MEMBERS[1]) == 140:
        yield case("F2-other-range", "content", "IntegrityError", resource_table=swapped)
    yield from _frame_cases()
    extra = b"a blob that nothing names"
    yield case(
        "J9-extra-blob",
        "blobs.extra",
        None,
        blob_files=lambda names: names.update({f"blobs/sha256/{sha256(extra).hex()}": extra}),
    )
    yield case("J9-missing-blob", "resources.leaves content", "IntegrityError", blob_files=_without(forge.RANDOM))
    yield case("J9-changed-blob", "content blob", "IntegrityError", blob_files=_changed(forge.RANDOM))
    yield case("J9-longer-blob", "resources.leaves content blob", "IntegrityError", blob_files=_longer(forge.RANDOM))


def _long_chain(connection: sqlite3.Connection) -> None:
    rows = ((n, sha256(b"%d" % n), 100, b"c:" + msgpack.packb([n + 1, "zstd"])) for n in range(1000, 6_000))
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO rs_manifest VALUES (?,?,?,?,NULL)", rows)
    connection.execute(
        "UPDATE rs_manifest SET filter_applied = ? WHERE resource_id = 3", (b"c:" + msgpack.packb([1000, "zstd"]),)
    )
    connection.execute("COMMIT")


def _deep(stage: tuple[dict[int, list[Any]], dict[bytes, bytes]], steps: int) -> None:
    """A content cut from a bundle that takes that many steps to make."""
    rows, leaves = stage
    stack = [b"a bundle " * 20]
    for _ in range(steps):
        stack.append(frame(stack[-1]))
    leaves[sha256(stack[-1])] = stack[-1]
    rows[100] = [100, sha256(stack[-1]), len(stack[-1]), None, None]
    for number, content in enumerate(reversed(stack[:-1]), 101):
        rows[number] = [number, sha256(content), len(content), b"c:" + msgpack.packb([number - 1, "zstd"]), None]
    cut = b"b:" + msgpack.packb([100 + steps, 0, 99])
    rows[200] = [200, sha256(stack[0][:99]), 99, cut, None]


def _without(content: bytes) -> Mutation:
    return lambda names: {name: data for name, data in names.items() if data != content}


def _changed(content: bytes) -> Mutation:
    return lambda names: {name: data[:-1] + b"~" if data == content else data for name, data in names.items()}


def _longer(content: bytes) -> Mutation:
    return lambda names: {name: data + b"~" if data == content else data for name, data in names.items()}


def _frame_cases() -> Iterator[Case]:
    """F6 and F7: another frame replaces that of TEXT, as a valid blob with a valid row."""
    good = frame(forge.TEXT)
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00junk"
    other = forge.TEXT[:-1] + b"~"
    for name, bad in {
        **{f"cut-{n}": good[:n] for n in range(0, len(good), 7)},
        "cut-checksum": good[:-4],
        "cut-last": good[:-1],
        "second-frame": good + good,
        "empty-second-frame": good + frame(b""),
        "skippable-behind": good + skippable,
        "skippable-before": skippable + good,
        "trailing": good + b"\0",
        "no-size": frame(forge.TEXT, write_content_size=False),
        "no-checksum": frame(forge.TEXT, write_checksum=False),
        "checksum": good[:-1] + bytes([good[-1] ^ 1]),
        "shorter": frame(forge.TEXT[:-1]),
        "longer": frame(forge.TEXT + b"x"),
        "other-content": frame(other),
        "bomb": frame(bytes(100 << 20)),
        "no-frame": b"no frame at all",
    }.items():
        yield Case(
            f"F6-{name}",
            frozenset({"content"}),
            "IntegrityError",
            {"resources": partial(_replaced, blob=bad)},
        )


def _replaced(stage: tuple[dict[int, list[Any]], dict[bytes, bytes]], blob: bytes) -> None:
    rows, leaves = stage
    del leaves[rows[11][1]]
    rows[11][1:3] = [sha256(blob), len(blob)]
    leaves[sha256(blob)] = blob
