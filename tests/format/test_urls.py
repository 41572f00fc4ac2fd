"""What is a URL, and what a URL of a store may say; a secret in one is never repeated."""

from __future__ import annotations

import pytest

from otabuild.errors import InputError
from otabuild.format.urls import is_url, parse_url


@pytest.mark.parametrize("place", ["file:///x", "s3://bucket/x", "HTTPS://host", "a+b-c.1://"])
def test_urls(place: str) -> None:
    assert is_url(place)


@pytest.mark.parametrize("place", ["", "/x", "x", "C:\\x", "a:b", "://x", "1a://x", "./s3://x", " s3://x", "a_b://x"])
def test_paths(place: str) -> None:
    assert not is_url(place)


@pytest.mark.parametrize("scheme", ["file", "s3", "gs", "az", "http", "https"])
def test_the_parts_of_a_url(scheme: str) -> None:
    parts = parse_url(f"{scheme}://host:80/a/b")
    assert (parts.scheme, parts.hostname, parts.path) == (scheme, "host", "/a/b")
    assert parse_url("file:///a/b").path == "/a/b"


@pytest.mark.parametrize(
    "url",
    [
        "https://user@host/x",
        "https://user:secret@host/x",
        "https://:secret@host/x",
        "https://host/x?token=secret",
        "https://host/x#secret",
        "ftp://host/x",
        "https:///x",
        "s3://",
        "https://[host/x",
        "x",
    ],
)
def test_what_no_store_has(url: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("place", ["s3:bucket", "https:/user:secret@host/x", "file:secret"])
def test_a_url_without_its_slashes_is_no_path(place: str) -> None:
    assert is_url(place)
    with pytest.raises(InputError, match="a URL without its slashes") as caught:
        parse_url(place)
    assert "secret" not in str(caught.value)
