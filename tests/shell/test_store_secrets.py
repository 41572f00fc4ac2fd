"""No credential of a store is shown or written anywhere: output, errors, reports, processes, and files of a run."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.shell.projects import Project, make_project

WORD = "Word0That1Nobody2May3See"
KEY = base64.b64encode(WORD.encode() * 2).decode()
PEM = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
_OWN = " -m otabuild -d publish "
"""Is in the arguments of the process that publishes with its traceback."""


@dataclass
class Leak:
    """A server that takes whatever is put, answers from that, and says of all else what it was told.

    Attributes:
        address: where it listens.
        heard: what clients sent, so that a test knows whether they sent their credential.
        processes: the arguments of all processes, as seen while requests were under way.
    """

    address: str = ""
    heard: str = ""
    processes: str = ""
    held: dict[str, bytes] = field(default_factory=dict)

    def answer(self, handler: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        told = f"{handler.path} {handler.headers}"
        self.heard += told
        if _OWN not in self.processes:
            self.processes += processes()
        key = handler.path.partition("?")[0]
        if handler.command == "PUT":
            self.held[key] = body
            return 201, b""
        if handler.command == "DELETE":
            self.held.pop(key, None)
            return 204, b""
        if key in self.held and handler.command in ("GET", "HEAD"):
            return 200, self.held[key]
        return 404, f"<Error><Code>Denied</Code><Message>{told}</Message></Error>".encode()


def processes() -> str:
    """Return the arguments of every process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(found)


@contextmanager
def leak() -> Iterator[Leak]:
    server = Leak()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_request(self) -> None:
            status, body = server.answer(self)
            self.send_response(status)
            headers = {"Content-Length": str(len(body)), "Last-Modified": self.date_time_string(), "ETag": '"1"'}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PROPFIND = do_request  # noqa: N815 -- their names

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as http:
        server.address = f"http://127.0.0.1:{http.server_address[1]}"
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield server
        http.shutdown()


def credentials(kind: str, address: str, folder: Path) -> tuple[str, dict[str, str], list[str]]:
    """Return the URL of a store, the environment with a credential, and the texts that must not be seen."""
    google = {"type": "service_account", "client_email": "me", "private_key_id": "1", "private_key": PEM}
    google_key = json.dumps({**google, "gcs_base_url": address, "disable_oauth": True})
    secrets = [WORD, KEY, quote(KEY, safe=""), base64.b64encode(f"me:{WORD}".encode()).decode(), PEM.splitlines()[5]]
    netrc, file = folder / "netrc", folder / "google.json"
    environ: dict[str, str] = {"NETRC": str(netrc)}
    url = f"{address}/ota"
    match kind:
        case "AWS keys":
            url = "s3://bucket/ota"
            environ |= {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": WORD, "AWS_SESSION_TOKEN": WORD * 2}
            environ |= {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": address}
        case "Google's key" | "Google's file":
            url = "gs://bucket/ota"
            environ |= {"GOOGLE_BASE_URL": address}
            file.write_text(google_key)
            given = (
                {"GOOGLE_SERVICE_ACCOUNT": str(file)} if "file" in kind else {"GOOGLE_SERVICE_ACCOUNT_KEY": google_key}
            )
            environ |= given
        case "Azure's key" | "Azure's signature":
            url = "az://bucket/ota"
            environ |= {"AZURE_STORAGE_ACCOUNT_NAME": "me", "AZURE_STORAGE_ENDPOINT": address}
            signature = {"AZURE_STORAGE_SAS_TOKEN": f"sv=2024&sig={quote(KEY, safe='')}"}
            environ |= signature if "signature" in kind else {"AZURE_STORAGE_ACCOUNT_KEY": KEY}
        case "netrc":
            netrc.write_text(f"machine 127.0.0.1 login me password {WORD}\n")
        case "Authorization":
            environ |= {"OTABUILD_AUTHORIZATION": f"Bearer {WORD}"}
        case "a URL with a password":
            url = url.replace("http://", f"http://me:{WORD}@")
        case "a URL with a signature":
            url = f"{url}?sig={WORD}"
    return url, environ, secrets


KINDS = [
    "AWS keys",
    "Google's key",
    "Google's file",
    "Azure's key",
    "Azure's signature",
    "netrc",
    "Authorization",
    "a URL with a password",
    "a URL with a signature",
]
SENT = {"AWS keys": WORD * 2, "Azure's signature": quote(KEY, safe=""), "Authorization": WORD}
"""What of a credential reaches the server itself; others only sign, or are encoded."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("built") / "product")
    assert project.run("-m", "doit", "build").code == 0
    return project


@pytest.mark.parametrize("kind", KINDS)
def test_no_credential_is_seen(kind: str, built: Project, tmp_path: Path) -> None:
    project = Project(tmp_path / "product")
    shutil.copytree(built.root, project.root, symlinks=True)
    with leak() as server:
        url, environ, secrets = credentials(kind, server.address, tmp_path)
        if "URL" not in kind:  # such a recipe would show its own URL
            project.recipe.write_text(project.recipe.read_text() + f'publish: {{store: "{url}", name: "1.0"}}\n')
        release = f"{url}/releases/1.0"
        shown = ""
        for command in (
            ["-m", "doit", "publish"],
            ["-m", "otabuild", "publish", "dist/vehicle.zip", url, "--name", "2.0", "--json"],
            ["-m", "otabuild", "store", "prune", url, "--keep", "1"],
            ["-m", "otabuild", "verify", release, "--no-signature", "--json"],
            ["-m", "otabuild", "report", release, "-o", "report.html"],
        ):
            ended = replace(project, env=environ).run(*command)
            shown += ended.out + ended.err
        for words in (["store", "list", url], ["publish", "dist/vehicle.zip", url, "--name", "3.0"]):
            done = subprocess.run(  # in a process of its own, and with its traceback
                [sys.executable, "-m", "otabuild", "-d", *words],
                cwd=project.root,
                env=project.environment(**environ),
                capture_output=True,
                text=True,
                check=False,
            )
            shown += done.stdout + done.stderr
    if "URL" in kind:
        assert not server.heard
    else:
        assert SENT.get(kind, "") in server.heard
        assert _OWN in server.processes
        shown += server.processes
    assert [text for text in secrets if text in shown] == []
    assert [path for path in files(project.root) if any(text.encode() in path.read_bytes() for text in secrets)] == []


def files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root) / name for name in names if (Path(root) / name).is_file())
