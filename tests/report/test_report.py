"""report: one safe page for any content of an image, read by a parser and, if available, by a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from otabuild.cli import main
from otabuild.image.image import open_image
from otabuild.report.html import Html, fold, join, table, tag, text
from otabuild.report.report_data import make_report
from otabuild.report.report_page import render_page
from otabuild.report.usage import FolderUse, usage
from otabuild.signing.demo_pki import write_demo_pki
from tests.image.products import NOW, Tree, build
from tests.packages.databases import RELEASES

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "</script><img src=x onerror=document.title='owned'>"
BASE: Tree = {
    "usr/lib/big": b"words and words " * 20_000,
    "usr/lib/copy": b"repeated " * 3_000,
    "usr/share/copy": b"repeated " * 3_000,
    "=usr/share/link": "usr/share/copy",
    "etc/tiny": b"tiny",
}
NEW: Tree = BASE | {
    f"etc/{HOSTILE.replace('/', '_')}": b"<b>" * 200_000,
    "etc/$made ${made} &amp; \u202egnp": b"x" * 7000,
    "srv/</script>": (b"y" * 900, 0o4755),
    "var/lib/dpkg/status": b"Package: <i>bold</i>\nVersion: 1\n",
}


class Page(HTMLParser):
    """The content of a page: text, tags with attributes, and scripts."""

    VOID = frozenset({"meta", "link", "br", "img"})

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(raw.decode())
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.scripts if self.stack[-1:] == ["script"] else self.words).append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("images")
    write_demo_pki(str(folder / "pki"), NOW)
    (folder / "sys.yaml").write_text("hostname: main\nsysctl: ['kernel.x=<script>alert(1)</script>']\n")
    sign = {"certificate": "../pki/sign.pem", "chain": ["../pki/intermediate.pem"], "key": {"file": "../pki/sign.key"}}
    payload = {"ecu": "main", "rootfs": "main", "release-keys": ["dev", "prd"]}
    annotations = {"platform": HOSTILE, "project": {"name": "demo", "version": "1"}}
    return build(folder / "base", BASE), build(
        folder / "new",
        NEW,
        sign=sign,
        annotations=annotations,
        payloads=[payload | {"sys-config": "../sys.yaml", "description": HOSTILE}],
    )


@pytest.fixture(scope="module")
def raw(images: tuple[Path, Path]) -> bytes:
    with open_image(images[0]) as base, open_image(images[1]) as new:
        return render_page(make_report(new, base, now=NOW))


def test_the_page_is_whole_and_asks_for_nothing(raw: bytes) -> None:
    page = Page(raw)
    assert not [tag for tag, _ in page.tags if tag in {"img", "link", "iframe", "object", "i"}]
    for _, attributes in page.tags:
        assert not attributes.keys() & {"src", "onerror", "onclick", "onload"}
        assert str(attributes.get("href", "#")).startswith("#")
    assert not re.search(rb"https?://", raw)
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = {str(attributes["href"])[1:] for tag, attributes in page.tags if tag == "a"}
    assert links == {"main", "contents", "signature", "bytes", "changes", "cost"} <= targets


def test_only_its_own_script_may_run(raw: bytes) -> None:
    page = Page(raw)
    (policy,) = (str(a["content"]) for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    data, script = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert "<" not in data
    assert json.loads(data)[0][0] == "/"


def test_what_a_reviewer_must_not_miss_is_named_by_itself(tmp_path: Path) -> None:
    old, new = (build(tmp_path / str(number), tree) for number, tree in enumerate(RELEASES))
    with open_image(old) as base, open_image(new) as image:
        text = Page(render_page(make_report(image, base, now=NOW))).text
    for said in (
        "BSP version: R35.4.1 → R36.4.1",
        "kernel: 5.10.1 → 5.15.2",
        "Downgraded packages pypi:old 2.0 → 1.0",
        "New licenses GPL-3.0",
        "New files of no package (2) /opt/surprise",
    ):
        assert said in re.sub(r"\s+", " ", text)


def test_all_text_of_the_image_is_text(raw: bytes) -> None:
    page = Page(raw)
    assert page.text.count(HOSTILE) >= 3
    assert "kernel.x=<script>alert(1)</script>" in page.text
    assert "<i>bold</i>" in page.text
    assert r"$made ${made} &amp; \u202egnp" in page.text, "no substitution, no entity, no invisible sign"


def test_what_it_tells(raw: bytes) -> None:
    words = Page(raw).text
    for said in (
        "Signed at 2026-01-01T00:00:00Z",
        "DEMO sign",
        "The signature is over this index.json",
        "Rootfs of main/dev, main/prd",
    ):
        assert said in words
    assert "its share of the download" in words


def test_the_head_names_both_images(raw: bytes, images: tuple[Path, Path]) -> None:
    head = raw.partition(b"<main")[0].decode()
    assert "<h1>demo 1</h1>" in head
    for image in images:
        assert f"<code>{hashlib.sha256(image.read_bytes()).hexdigest()}</code>" in head


def test_a_directory_is_named_by_its_index(images: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.unpack_archive(images[1], tmp_path / "image")
    with open_image(tmp_path / "image") as image:
        head = render_page(make_report(image, now=NOW)).partition(b"<main")[0].decode()
    digest = hashlib.sha256((tmp_path / "image" / "index.json").read_bytes()).hexdigest()
    assert f"<dt>SHA-256 of index.json</dt><dd><code>{digest}</code></dd>" in head


def test_what_changed_comes_before_the_long_tables(raw: bytes) -> None:
    sections = [attributes["id"] for name, attributes in Page(raw).tags if name == "section"]
    assert sections == ["changes", "cost", "contents", "signature", "bytes"]


def test_what_changed(raw: bytes) -> None:
    changes = raw.decode().partition('id="changes"')[2].partition("<section")[0]
    privileges, packages = changes.partition("Packages</h4>")[::2]
    assert "/srv/&lt;/script&gt; (900 B, setuid)" in privileges
    assert "<details open><summary>1 package</summary>" in packages
    assert " → " in changes
    assert "-&gt;" not in changes


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (b"Package: a\nVersion: 1\n", "No packages changed."),
        (None, "Neither image has a package that otabuild can read."),
    ],
)
def test_no_packages_changed(tmp_path: Path, status: bytes | None, said: str) -> None:
    tree: Tree = BASE if status is None else BASE | {"var/lib/dpkg/status": status}
    old, new = build(tmp_path / "old", tree), build(tmp_path / "new", tree | {"etc/new": b"new"})
    with open_image(old) as base, open_image(new) as image:
        words = Page(render_page(make_report(image, base, now=NOW))).text
    assert said in words
    assert "No files changed." not in words


def test_only_the_configuration_changed(tmp_path: Path) -> None:
    payload = {"ecu": "main", "rootfs": "main", "description": "new"}
    old, new = build(tmp_path / "old", BASE), build(tmp_path / "new", BASE, payloads=[payload])
    with open_image(old) as base, open_image(new) as image:
        words = Page(render_page(make_report(image, base, now=NOW))).text
    assert "No packages changed." in words
    assert "No files changed." in words


def test_without_base_and_signature(images: tuple[Path, Path]) -> None:
    with open_image(images[0]) as base:
        page = Page(render_page(make_report(base, now=NOW)))
    assert "The image is not signed." in page.text
    assert "What changed" not in page.text


def test_a_signature_that_does_not_hold_is_said(images: tuple[Path, Path]) -> None:
    with open_image(images[1]) as new:
        page = Page(render_page(make_report(new, now=NOW + 20 * 366 * 86_400)))
    assert "not valid" in page.text
    assert "The signature is over" not in page.text


def test_where_the_bytes_are(images: tuple[Path, Path]) -> None:
    with open_image(images[0]) as image:
        found = usage(image, image.payloads)
        blobs = {row.digest: row.size for row in image.resources.rows() if row.filter_applied is None}
    sizes = {path: len(value) for path, value in BASE.items() if isinstance(value, bytes)}
    assert (found.tree.size, found.tree.files) == (sum(sizes.values()), 4), "hard links once"
    assert found.tree.stored == pytest.approx(sum(blobs.values()))
    assert {name: child.size for name, child in found.tree.children.items()} == {"usr": sum(sizes.values()) - 4}, (
        "a file of 4 bytes is too small to be seen"
    )
    assert found.largest[0].paths == ("/usr/lib/big",)
    assert [(use.paths, use.repeated) for use in found.duplicates] == [
        (("/usr/lib/copy", "/usr/share/copy"), sizes["usr/lib/copy"])
    ]
    assert found.forms["inline"].contents == 1
    assert sum(use.size for use in found.forms.values()) == sum(sizes.values()) - sizes["usr/lib/copy"]


def test_small_nodes_count_where_they_are_not_shown() -> None:
    root = FolderUse("/")
    root.add("/a/b/c", 90, 10)
    root.add("/a/d", 5, 80)
    root.add("/e", 5, 10)
    root.prune(10, 50)
    assert list(root.children) == ["a"]
    assert list(root.children["a"].children) == ["b", "d"]
    assert (root.size, root.stored, root.files) == (100, 100, 3)


def test_html_is_escaped_unless_it_is_ours() -> None:
    assert text('<a b="&">\x1b') == "&lt;a b=&quot;&amp;&quot;&gt;\\x1b"
    assert tag("p", "<", tag("b", 5), class_='"') == '<p class="&quot;">&lt;<b>5</b></p>'
    assert join(["<", Html("<")]) == "&lt;<"
    assert table(("a",), []) == '<p class="none">none</p>'
    assert fold("<", "x", is_open=True) == "<details open><summary>&lt;</summary>x</details>"


def test_command(images: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "report.html"
    assert main(["report", str(images[1]), "--base", str(images[0]), "-o", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert Page(page.read_bytes()).text


def rendered(page: bytes, folder: Path) -> Page:
    """Return the document after its scripts have run in a browser."""
    (folder / "report.html").write_bytes(page)
    options = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    command = [str(CHROMIUM), *options.split(), "--disable-component-update", f"--user-data-dir={folder / 'profile'}"]
    run = [*command, "--dump-dom", f"file://{folder / 'report.html'}"]
    return Page(subprocess.run(run, check=True, capture_output=True, timeout=120).stdout)


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")
def test_in_a_browser(raw: bytes, tmp_path: Path) -> None:
    page = rendered(raw, tmp_path)
    cells = [str(a["title"]) for tag, a in page.tags if tag == "button" and "title" in a]
    assert any(cell.startswith("/usr: ") for cell in cells)
    assert any("onerror" in cell for cell in cells), "a hostile name is a label"
    assert "img" not in {tag for tag, _ in page.tags}
    assert "demo 1: OTA image report" in page.text, "no script of the image ran and changed it"


KEYS = b"""<script>
const trail = () => [...document.querySelectorAll(".tools button")].map((button) => button.textContent).join(" ");
const log = [trail()];
document.querySelector(".map button").click();
log.push(trail(), document.activeElement.title);
const back = new KeyboardEvent("keydown", { key: "Backspace", bubbles: true });
document.activeElement.dispatchEvent(back);
log.push(trail(), document.activeElement.title);
document.title = log.join("|");
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")
def test_the_treemap_by_keyboard(raw: bytes, tmp_path: Path) -> None:
    """Enter clicks the cell that has the focus; the focus follows into the folder and back."""
    page = rendered(re.sub(rb"<meta http-equiv[^>]*>", b"", raw).replace(b"</body>", KEYS), tmp_path)
    top, inside, first, again, back = page.text.split("/ on the device", 1)[1].partition("\n")[0].split("|")
    assert top == " stored"
    assert inside.startswith("/ ")
    assert first.startswith(f"/{inside.split()[1]}/")
    assert again == "/ on the device stored"
    assert back.startswith(f"/{inside.split()[1]}: ")
