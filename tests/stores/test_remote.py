"""Credentials and settings, tried with servers that look at them; nothing of them is shown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from otabuild.errors import IntegrityError, StoreError
from otabuild.storage.member import document
from otabuild.stores.open_store import open_store
from tests.stores.servers import BUCKET, SECRET_KEY, aws_environ, needs_seaweedfs

SECRET = "Bearer word-that-nobody-may-see"


class Server(ThreadingHTTPServer):
    """Keeps what it was asked; `/moved/…` leads to `target`, `/private/…` is refused without the secret."""

    target = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        given = self.headers["Authorization"]
        self.server.seen.append((self.path, given))
        if self.path.startswith("/moved/"):
            self._answer(302, b"", ("Location", self.server.target + self.path.removeprefix("/moved")))
        elif self.path.startswith("/private/") and given is None:
            self._answer(401, b"who are you?")
        elif self.path.startswith("/leaky/"):
            self._answer(403, f"you said {given}".encode())
        else:
            self._answer(200, b"content")

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body))), ("Last-Modified", self.date_time_string())):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield one
        one.shutdown()


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OTABUILD_AUTHORIZATION", "OTABUILD_CA_FILE", "OTABUILD_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def load(url: str, key: str) -> bytes:
    return b"".join(open_store(url).chunks(key))


def test_a_header_of_the_environment_is_sent(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTABUILD_AUTHORIZATION", SECRET)
    assert load(f"{server.address}/private", "a") == b"content"
    assert server.seen == [("/private/a", SECRET)]


def test_a_password_of_netrc_is_sent_to_its_host(server: Server, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password word\nmachine else login x password y\n")
    assert load(f"{server.address}/private", "a") == b"content"
    assert server.seen == [("/private/a", "Basic bWU6d29yZA==")]


def test_without_credentials_the_hint_says_where_to_put_them(server: Server) -> None:
    with pytest.raises(StoreError, match=r"401(?s:.*)netrc"):
        load(f"{server.address}/private", "a")
    assert len(server.seen) == 1  # asking again would not help


def test_a_redirect_is_followed_and_the_secret_stays_with_its_host(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTABUILD_AUTHORIZATION", SECRET)
    server.target = server.address.replace("127.0.0.1", "localhost")
    assert load(f"{server.address}/moved", "a") == b"content"
    assert server.seen == [("/moved/a", SECRET), ("/a", None)]


def test_what_a_server_says_of_a_secret_is_not_shown(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTABUILD_AUTHORIZATION", SECRET)
    with pytest.raises(StoreError, match="403") as caught:
        load(f"{server.address}/leaky", "a")
    shown = [str(caught.value), repr(caught.value.to_value()), repr(caught.value.__dict__)]
    assert not [text for text in shown if SECRET in text or "nobody-may-see" in text]


def test_a_server_that_is_not_there_is_one_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otabuild.stores.object_store._FIRST_PAUSE", 0.001)
    server.server_close()
    with pytest.raises(StoreError, match=r"/releases/a: cannot read \(observed Connection refused\)"):
        load(f"{server.address}/releases", "a")


@needs_seaweedfs
@pytest.mark.parametrize(
    ("name", "message"),
    [("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId"), ("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch")],
)
def test_wrong_keys_of_a_bucket_are_said(
    name: str, message: str, seaweedfs_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in aws_environ(seaweedfs_address).items():
        monkeypatch.setenv(variable, value)
    open_store(f"s3://{BUCKET}").put("a", document("a", b"x"))
    monkeypatch.setenv(name, "wrong-" + SECRET_KEY)
    with pytest.raises(StoreError, match=rf"{message}(?s:.*)credentials") as caught:
        load(f"s3://{BUCKET}", "a")
    assert SECRET_KEY not in str(caught.value)


@needs_seaweedfs
def test_a_bucket_that_is_not_there_is_named(seaweedfs_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in aws_environ(seaweedfs_address).items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(IntegrityError, match="missing"):
        load("s3://no-such-bucket", "a")
