"""Every citation of the format and of a threat leads to a heading or a row, and the reference says what the code does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from otabuild.format import annotations as ann
from otabuild.format import file_table, media_types, resource_table
from otabuild.format.document import Document
from otabuild.format.image_config import ImageConfig
from otabuild.format.index import Index
from otabuild.format.manifest import Manifest
from otabuild.format.otaclient import PackageManifest

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs/reference"
FORMAT = (REFERENCE / "format.md").read_text(encoding="utf-8")
THREATS = (REFERENCE / "threats.md").read_text(encoding="utf-8")

_TEXTS = ("*.md", "otabuild/**/*.py", "tests/**/*.py", "tools/**/*.py", "benchmarks/**/*.py", "docs/**/*.md")
PATHS = sorted({path for pattern in _TEXTS for path in ROOT.glob(pattern)} - {Path(__file__)})
TESTS = [path for path in PATHS if path.is_relative_to(ROOT / "tests")]

SECTIONS = frozenset(map(int, re.findall(r"^## (\d+)\. ", FORMAT, re.MULTILINE)))
ROWS = re.findall(r"^\| ([A-Z]\d+) \|.*\| (.+) \|$", THREATS, re.MULTILINE)
IDS = frozenset(id_ for id_, _ in ROWS)
GROUPS = frozenset(id_[0] for id_ in IDS)

_AND = r"(?:,\s+|\s+(?:and|or|to)\s+)"
_CITED_SECTIONS = re.compile(rf"\bsections?\s+(\d+(?:{_AND}\d+)*)", re.IGNORECASE)
_OTHER_FORM = re.compile(r"\bspec(?:ification)?,? section|§|\bsect?\. ?\d", re.IGNORECASE)
_CITED_THREATS = re.compile(rf"\bthreats?\s+([A-Z]\d{{0,2}}\b(?:{_AND}[A-Z]\d{{0,2}}\b)*)", re.IGNORECASE)
_ID = re.compile(r"(?<![\w.-])(?:[A-QS-Z]\d{1,2}|R\d)(?!\w)")
_NAMED_ID = re.compile(r"\bdef test_((?:[a-z]\d{1,2}_)+)")


def wrong_sections(text: str) -> list[str]:
    """Return the citations of sections that do not exist, or that have another form than `section N`."""
    cited = (number for found in _CITED_SECTIONS.findall(text) for number in re.findall(r"\d+", found))
    return [number for number in cited if int(number) not in SECTIONS] + _OTHER_FORM.findall(text)


def wrong_threats(text: str, *, of_a_test: bool) -> list[str]:
    """Return the cited ids without a row; in tests an id needs no word before it, and names of functions cite, too."""
    return [id_ for id_ in _cited_threats(text, of_a_test=of_a_test) if id_ not in IDS | GROUPS]


def _cited_threats(text: str, *, of_a_test: bool) -> Iterator[str]:
    for found in _CITED_THREATS.findall(text):
        yield from re.findall(r"\b[A-Z]\d{0,2}\b", found)
    if of_a_test:
        groups = "".join(GROUPS)
        yield from (id_ for id_ in _ID.findall(text) if id_[0] in groups)
        for names in _NAMED_ID.findall(text):
            yield from (name.upper() for name in names.strip("_").split("_"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_citations_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert wrong_sections(text) == []
    assert wrong_threats(text, of_a_test=path in TESTS) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("(sections 1, 2 and 12) and Section 7", []),
        ("(section 13)", ["13"]),
        ("sections 11 to 14", ["14"]),
        ("sections\n6 or 0", ["0"]),
        ("(specification, section 5)", ["specification, section"]),
        ("(spec, section 5)", ["spec, section"]),
        ("see § 5", ["§"]),
    ],
)
def test_a_wrong_section_is_found(text: str, wrong: list[str]) -> None:
    assert wrong_sections(text) == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('"""S11: threats S2 to S8, F and J9."""', []),
        ("threats S2 to S99", ["S99", "S99"]),
        ("threat Q", ["Q"]),
        ('"Z99-gap"', ["Z99"]),
        ("def test_b3_b99_names() -> None:", ["B99"]),
        ("zstd -T2, R35.4.1, x.S99", []),
    ],
)
def test_a_wrong_threat_is_found(text: str, wrong: list[str]) -> None:
    assert wrong_threats(text, of_a_test=True) == wrong


def test_outside_of_tests_only_the_word_cites_a_threat() -> None:
    assert wrong_threats("T2 = TypeVar, but threat T99", of_a_test=False) == ["T99"]


def test_citations_are_found_at_all() -> None:
    texts = [path.read_text(encoding="utf-8") for path in PATHS]
    assert {int(n) for text in texts for found in _CITED_SECTIONS.findall(text) for n in re.findall(r"\d+", found)} == (
        SECTIONS
    )
    tests = [path.read_text(encoding="utf-8") for path in TESTS]
    assert len({id_ for text in tests for id_ in _cited_threats(text, of_a_test=True)}) > len(IDS) / 2


def test_the_format_has_twelve_sections_in_order() -> None:
    assert re.findall(r"^## (\d+)\. ", FORMAT, re.MULTILINE) == [str(number) for number in range(1, 13)]


def test_a_threat_has_one_row_and_its_tests_exist() -> None:
    assert len(IDS) == len(ROWS)
    names = {path.name for path in TESTS}
    named = {name for _, tests in ROWS for name in tests.split(", ")}
    assert named - names == set()


def test_the_format_has_the_statements_that_make_the_tables() -> None:
    blocks = re.findall(r"```sql\n(.*?)```", FORMAT, re.DOTALL)
    statements = [tuple(block.removesuffix(";\n").split(";\n")) for block in blocks]
    assert statements == [(*file_table.TABLES, *file_table.INDEXES), (*resource_table.TABLES, *resource_table.INDEXES)]


def test_the_format_has_every_key_and_media_type() -> None:
    types = {value for name, value in vars(media_types).items() if name[0] != "_" and isinstance(value, str)}
    assert _missing(types | ann.KNOWN) == []
    assert _missing(["vnd.tier4.unheard-of"]) == ["vnd.tier4.unheard-of"]


def _missing(words: Iterable[str]) -> list[str]:
    return sorted(word for word in words if not re.search(rf"`{re.escape(word)}(\+zstd)?`", FORMAT))


def test_the_examples_of_the_format_are_of_it() -> None:
    examples = [raw.encode() for raw in re.findall(r"```json\n(\{\"schemaVersion.*?)```", FORMAT, re.DOTALL)]
    models: tuple[type[Document], ...] = (Index, Manifest, ImageConfig, PackageManifest)
    for raw, model in zip(examples, models, strict=True):
        document = model.from_json(raw, model.__name__)
        assert document.model_extra == {}
