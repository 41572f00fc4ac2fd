"""Documents of a hostile image: errors are short and take little memory."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys

import pytest

from otabuild.errors import FormatError, LimitError
from otabuild.format import limits
from otabuild.format.document import dump_json, joined, parse_json
from otabuild.format.index import Index
from otabuild.format.manifest import Manifest
from otabuild.format.otaclient import Release
from tests.format.documents import descriptor, index

ROOT = pathlib.Path(__file__).parents[2]


def test_a_megabyte_of_wrong_entries_takes_little_memory() -> None:
    program = (
        "import sys\n"
        "from otabuild.errors import OtabuildError\n"
        "from otabuild.format.index import Index\n"
        "try: Index.parse(sys.stdin.buffer.read())\n"
        "except OtabuildError as error: print(len(str(error)), open('/proc/self/status').read())\n"
    )
    raw = b'{"manifests":[' + b"{}," * 1_000_000 + b"{}]}"
    done = subprocess.run([sys.executable, "-c", program], input=raw, capture_output=True, check=True, cwd=ROOT)
    length, _, status = done.stdout.partition(b" ")
    assert int(length) < 1000
    peak = re.search(rb"VmHWM:\s*(\d+) kB", status)
    assert peak
    assert int(peak[1]) < 200 * 1024


@pytest.mark.parametrize(("model", "key"), [(Index, "manifests"), (Manifest, "layers"), (Release, "packages")])
def test_long_lists_are_refused_as_a_whole(model: type[Index | Manifest | Release], key: str) -> None:
    raw = json.dumps({key: [{}] * (limits.ENTRIES + 1)}).encode()
    with pytest.raises(FormatError, match=f"{key}: more than {limits.ENTRIES} entries"):
        model.from_json(raw, "document")


def test_of_many_problems_the_first_are_named() -> None:
    with pytest.raises(FormatError) as caught:
        Index.parse(json.dumps({"manifests": [{}] * 100}).encode())
    assert str(caught.value).count("; ") == 20
    assert str(caught.value).endswith("; and more")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"a": NaN}', "constant NaN"),
        (b'{"a": -Infinity}', "constant -Infinity"),
        (b'{"a": 1e999}', "number 1e999 is too large"),
        (b'{"a": [-1e999]}', "number -1e999 is too large"),
        (b'{"a": {"b": null}}', "absent fields are left out"),
        (b'{"a": "\\ud800"}', "surrogates not allowed"),
        (b'{"\\ud800": 1}', "surrogates not allowed"),
        (b'{"a": 1, "A": 2}', "duplicate key 'A'"),
        (b"\xef\xbb\xbf{}", "BOM"),
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(FormatError, match=f"not strict JSON.*{said}"):
        parse_json(raw, "document")


def test_a_document_may_be_as_deep_as_the_limit_and_no_deeper() -> None:
    deep = b'{"a":' * limits.JSON_DEPTH + b"1" + b"}" * limits.JSON_DEPTH
    assert parse_json(deep, "document")["a"]
    with pytest.raises(LimitError, match=f"nested too deeply .*{limits.JSON_DEPTH} levels"):
        parse_json(b"[" + deep + b"]", "document")


def test_a_document_is_as_large_as_its_limit_and_no_larger() -> None:
    assert parse_json(b'"' + b"a" * 8 + b'"', "document", 10)
    with pytest.raises(LimitError, match="document too large"):
        parse_json(b'"' + b"a" * 9 + b'"', "document", 10)
    assert parse_json(b'"' + b"a" * (limits.DOCUMENT - 2) + b'"', "document")
    with pytest.raises(LimitError, match="document too large"):
        parse_json(b'"' + b"a" * (limits.DOCUMENT - 1) + b'"', "document")


@pytest.mark.parametrize(("count", "shown"), [(0, 0), (1, 1), (20, 20), (21, 21), (50, 21)])
def test_twenty_problems_are_joined(count: int, shown: int) -> None:
    parts = joined(f"problem {number}" for number in range(count)).split("; ")
    assert len([part for part in parts if part]) == shown
    assert (parts[-1] == "and more") == (count > 20)


def test_what_is_written_is_compact_utf_8_in_the_order_given() -> None:
    assert dump_json({"b": "ä", "a": [1, True, {}]}) == '{"b":"ä","a":[1,true,{}]}'.encode()
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError):
            dump_json([number])


def test_a_document_becomes_plain_values_of_json() -> None:
    value = index(descriptor("application/x", note="ä"), more=[1])
    found = Index.parse(json.dumps(value).encode())
    assert found.to_value() == value
    assert found.to_json() == dump_json(value)
    assert json.loads(found.to_json()) == value


@pytest.mark.parametrize("key", ["schemaVersion", "mediaType", "manifests", "annotations"])
def test_no_field_of_an_index_may_be_left_out(key: str) -> None:
    value = index()
    del value[key]
    with pytest.raises(FormatError, match=f"{key}: field required"):
        Index.parse(json.dumps(value).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"manifests": [{"mediaType": "x", "digest": "sha256:0", "size": "1"}]},
        {"manifests": [5]},
        {"manifests": "x" * 100},
        {"annotations": []},
        {"schemaVersion": 1},
        {"mediaType": "text/plain"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_wrong_field_is_named_with_what_is_there(changes: dict[str, object]) -> None:
    with pytest.raises(FormatError, match=next(iter(changes))):
        Index.from_value(index() | changes, "document")
    with pytest.raises(FormatError, match="document: "):
        Index.from_value([], "document")
