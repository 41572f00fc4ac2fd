"""Which places are stores, and what is said of those that are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from otabuild.errors import InputError, OtabuildError
from otabuild.format.urls import is_url
from otabuild.storage.member import document
from otabuild.stores.folder_store import FolderStore
from otabuild.stores.open_store import open_store

SECRET = "hunter2-in-the-url"


@pytest.mark.parametrize("place", ["s3://bucket", "https://host/x", "FILE:///srv", "gs://b/p", "az://c"])
def test_a_url_is_a_url(place: str) -> None:
    assert is_url(place)


@pytest.mark.parametrize("place", ["/srv/ota", "image.zip", "a:b", "./s3:/x", "c:\\images", "://x", ""])
def test_a_path_is_a_path(place: str) -> None:
    assert not is_url(place)


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://{}/"])
def test_a_folder_is_named_by_path_or_url(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    store = open_store(form.format(str(folder).replace(" ", "%20") if "file" in form else folder))
    store.put("a", document("a", b"x"))
    assert isinstance(store, FolderStore)
    assert (folder / "a").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"https://user:{SECRET}@host/releases", "a user or a password"),
        (f"s3://AKIA:{SECRET}@bucket", "a user or a password"),
        (f"https://{SECRET}@host/releases", "a user or a password"),
        (f"https://host/releases?sig={SECRET}", "a query"),
        (f"https://host/releases#{SECRET}", "a query"),
        ("ftp://host/releases", "not a store"),
        ("s3:///prefix", "not a store"),
        ("https://", "not a store"),
        ("https://[host/x", "not a URL"),
    ],
)
def test_other_urls_are_refused_and_no_secret_is_shown(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_store(url)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.to_value())


@pytest.mark.parametrize("seconds", ["", "0", "-1", "soon", "1e9", "nan"])
def test_a_deadline_is_a_number_of_seconds(seconds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTABUILD_TIMEOUT", seconds)
    with pytest.raises(InputError, match="seconds"):
        open_store("s3://bucket")


def test_a_missing_ca_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OTABUILD_CA_FILE", str(tmp_path / "no.pem"))
    with pytest.raises(OtabuildError, match=r"no\.pem"):
        open_store("https://host")


def test_a_file_that_is_no_certificate_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("nothing")
    monkeypatch.setenv("OTABUILD_CA_FILE", str(tmp_path / "key.pem"))
    with pytest.raises(OtabuildError, match=r"key\.pem"):
        open_store("https://host")


@pytest.mark.parametrize("content", [f"machine host login me password {SECRET} oops", f"{SECRET} host login me"])
def test_a_netrc_that_cannot_be_read_is_named_and_its_words_are_not(
    content: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text(content)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(InputError, match="netrc") as caught:
        open_store("https://host")
    assert SECRET not in str(caught.value)


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "obstore.py").write_text("raise ImportError('no obstore here')\n")
    code = (
        "from otabuild.stores.open_store import open_store\n"
        "from otabuild.errors import InputError\n"
        "try: open_store('s3://bucket')\n"
        "except InputError as error: print(error)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
    )
    assert "pip install -c constraints.txt '.[remote]'" in shown.stdout


def test_a_folder_needs_no_library(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from otabuild.stores.open_store import open_store\n"
        "list(open_store(sys.argv[1]).files(''))\n"
        "assert not {name for name in sys.modules if name.partition('.')[0] in ('obstore', 'asyncio', 'netrc')}\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=Path(__file__).parents[2])
