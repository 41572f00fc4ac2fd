"""The documentation: generated pages are up to date, links are valid, the recipe of the README loads."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from otabuild.cli import make_parser
from otabuild.recipe.context import Context
from otabuild.recipe.fields import PathBase
from otabuild.recipe.load import parse_recipe
from tools.reference import pages
from tools.reference_commands import man_page, named_commands

ROOT = Path(__file__).parent.parent
CODE = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "otabuild").rglob("*.py")))
DOCUMENTS = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "examples/README.md", *(ROOT / "docs").rglob("*.md")]
)


@pytest.mark.parametrize(
    "name", ["commands.md", "errors.md", "json.md", "otabuild.1", "recipe.md", "recipe.schema.json", "rules.md"]
)
def test_generated_pages_are_the_newest(name: str) -> None:
    assert pages()[name] == (ROOT / "docs/reference" / name).read_text(encoding="utf-8"), "run `make docs`"


def test_the_reference_of_recipes_leads_to_every_table() -> None:
    page = pages()["recipe.md"]
    tables = re.findall(r"^## (\w+)$", page, re.MULTILINE)
    assert [name for name in tables if f"[{name}](#{name.lower()})" not in page] == []
    assert all(
        f"| {value} |" in page for value in ("`update` | `size` | `reference`", "16.0 KiB | 256.0 KiB | 8.0 KiB")
    )


def test_the_reference_of_commands_shows_choices_and_commands_below_others() -> None:
    page = pages()["commands.md"]
    wanted = ("## otabuild pki demo\n", "- `DIR`: ", "`--format text|markdown|json`", "`show|prune|verify`")
    assert [text for text in wanted if text not in page] == []


@pytest.mark.parametrize("checker", [("groff", "-man", "-ww", "-z"), ("mandoc", "-T", "lint", "-W", "warning")])
def test_the_man_page_is_well_formed(checker: tuple[str, ...]) -> None:
    if shutil.which(checker[0]) is None:
        pytest.skip(f"no {checker[0]}")
    command = [*checker, str(ROOT / "docs/reference/otabuild.1")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    complaints = (done.stdout + done.stderr).splitlines()
    assert [line for line in complaints if "missing date" not in line] == []  # a date would change without a reason


def test_the_man_page_has_every_command() -> None:
    page = man_page()
    commands = [name for name, _ in named_commands(make_parser(), "otabuild")]
    assert all(f".SS {name}\n".replace("-", r"\-") in page for name in commands)
    assert ".SH EXIT STATUS\n0 success" in page
    assert r"\fB\-\-ecu\-id ID\fR" in page


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
        if "://" not in link:
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_every_page_can_be_found() -> None:
    text = "".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    linked = {Path(link).name for link in re.findall(r"\]\(([^)#\s]+)", text)}
    assert {path.name for path in (ROOT / "docs").rglob("*.md")} - linked <= set()


def test_every_environment_variable_that_is_read_is_documented() -> None:
    read = set(re.findall(r'environ(?:\.get\(|\[)"([A-Z0-9_]+)"|"(OTABUILD_[A-Z_]+)"', CODE))
    pages_ = "".join(
        (ROOT / f"docs/reference/{name}.md").read_text(encoding="utf-8") for name in ("environment", "stores")
    )
    names = {name for pair in read for name in pair if name and name != "HOME"}
    assert len(names) > 10
    assert {name for name in names if f"`{name}`" not in pages_} == set()


def test_every_message_of_the_page_of_troubles_is_one_of_ours() -> None:
    page = (ROOT / "docs/how-to/troubleshooting.md").read_text(encoding="utf-8")
    told = [
        message
        for line in re.findall(r"^\*\*(`.*?)\*\*:", page, re.MULTILINE)
        for message in re.findall("`(.*?)`", line)
    ]
    assert len(told) > 10
    assert [message for message in told if message not in CODE and message != os.strerror(errno.ENOSPC)] == []


def test_the_recipe_of_the_readme_loads() -> None:
    recipe = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert recipe
    context = Context(env={}, git=lambda what: "1735689600" if what == "time" else "v1", now=1_735_689_600)
    loaded = parse_recipe(recipe[1].encode(), "image", context, PathBase("/r/recipes", "/r"), "README.md")
    assert loaded.name == "image"
    assert (loaded.output or "").endswith("dist/image.zip")
