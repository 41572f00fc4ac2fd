"""The site: it builds strictly, from disk as from a server, and what its buttons copy can be pasted."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import PAGES, ROOT, blocks

DOCS = ROOT / "docs"
SITE = [page for page in PAGES if page.is_relative_to(DOCS)]
TEXTS = {"p", "li", "h1", "h2", "h3", "pre", "table"}
needs_zensical = pytest.mark.skipif(
    not (find_spec("zensical") and find_spec("mkdocstrings")), reason="no zensical here: pip install --group docs"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    for name in ("docs", "examples", "otabuild"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("build", "dist", "__pycache__"))
    for name in ("mkdocs.yml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-W", "ignore", "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build/site"


class Page(HTMLParser):
    """What the tests look at in a page: texts of paragraphs, links, ids, and what each block of code copies."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.paragraphs, self.links, self.sources, self.ids = [""], list[str](), list[str](), set[str]()
        self.blocks, self.lines, self.classes, self.code = list[str](), list[str](), list[str](), False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids.add(values.get("id", ""))
        self.links += [values["href"]] if tag == "a" and "href" in values else []
        self.sources += [
            values[name] for name in ("src", "href") if tag in {"script", "img", "link"} and name in values
        ]
        if tag in TEXTS:
            self.paragraphs.append("")
        if tag == "code":
            self.lines, self.code = [], True
        if tag == "span" and self.code:
            self.classes.append(values.get("class", ""))
            self.lines += [""] if values.get("id", "").startswith("line-") else []

    def handle_endtag(self, tag: str) -> None:
        if tag in TEXTS:
            self.paragraphs.append("")
        if tag == "code":
            self.blocks += ["".join(self.lines)] if self.lines else []
            self.code = False
        if tag == "span" and self.code:
            self.classes.pop()

    def handle_data(self, data: str) -> None:
        self.paragraphs[-1] += data
        hidden = {"gp", "c1", "go"}.intersection(self.classes)  # as docs/site.css hides them
        if self.code and self.lines and not hidden:
            self.lines[-1] += data
        if "go" in hidden:
            self.lines[-1] = "\0"


def pages(site: Path) -> Iterator[tuple[Path, Page]]:
    for path in sorted(site.rglob("*.html")):
        yield path, Page(path)


@needs_zensical
def test_the_reference_of_python_is_in_the_site(site: Path) -> None:
    ids = Page(site / "reference/api.html").ids
    assert {"otabuild.api.build", "otabuild.verification.verify.verify", "otabuild.image.image.Image"} <= ids


@needs_zensical
def test_links_lead_to_files_and_places_of_the_site_without_a_server(site: Path) -> None:
    found = dict(pages(site))
    wrong = []
    for path, page in found.items():
        for link in page.links:
            target, _, place = link.partition("#")
            if "://" in link or path.name == "404.html":
                continue
            file = (path.parent / target).resolve() if target else path
            if not file.is_file() or (place and place not in found[file].ids):
                wrong.append(f"{path.name}: {link}")
    assert wrong == []


@needs_zensical
def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    assert [(path.name, source) for path, page in pages(site) for source in page.sources if "://" in source] == []


@needs_zensical
def test_lists_are_lists(site: Path) -> None:
    lost = re.compile(r"\n(?:[-*]|\d+\.) ")
    assert [(path.name, text) for path, page in pages(site) for text in page.paragraphs if lost.search(text)] == []


def test_what_belongs_to_an_item_of_a_list_is_indented_by_four() -> None:
    little = re.compile(r"\n\n {1,3}\S.*")
    assert [
        (page.name, found) for page in DOCS.rglob("*.md") for found in little.findall(page.read_text("utf-8"))
    ] == []


@needs_zensical
@pytest.mark.parametrize("source", SITE, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_what_is_copied_from_a_session_can_be_pasted(source: Path, site: Path) -> None:
    copied = [_plain(text) for text in Page(site / source.relative_to(DOCS).with_suffix(".html")).blocks]
    for block in blocks(source):
        if block.is_session:
            assert _plain("\n".join(command.text for command in block.commands())) in copied


def _plain(text: str) -> list[str]:
    lines = (re.sub(r"(^|\s)#(\s.*)?$", "", line).rstrip() for line in text.splitlines() if "\0" not in line)
    return [line for line in lines if line]


def test_every_block_of_the_examples_includes_a_file() -> None:
    text = (DOCS / "examples.md").read_text(encoding="utf-8")
    assert re.findall(r'title="(.+)"\n--8<-- "(.+)"\n', text) == [
        (name, name) for name in re.findall('title="(.+)"', text)
    ]


def test_every_page_is_in_the_navigation() -> None:
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    nav = yaml.safe_load(config[config.index("\nnav:") :])["nav"]
    assert sorted(_pages(nav)) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def _pages(part: object) -> list[str]:
    if isinstance(part, str):
        return [part]
    below = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return [page for each in below for page in _pages(each)]
