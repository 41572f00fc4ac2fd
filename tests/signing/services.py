"""Key services for tests, each with the key of `pki.signer` as `release`: OpenBao itself, and of the clouds what their clients call."""

from __future__ import annotations

import base64
import json
import os
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from tests import pki
from tests.stores.servers import free_port, running

BAO = Path(sys.executable).parent / "bao"
GOOGLE_KEY = "projects/p/locations/l/keyRings/r/cryptoKeys/release/cryptoKeyVersions/1"
Answer = tuple[int, dict[str, Any], dict[str, str]]
"""Status, JSON and headers."""
Handle = Callable[[str, dict[str, str], dict[str, Any]], Answer]
"""Takes path, headers in lower case and JSON of a request."""


def _keys() -> dict[str, ec.EllipticCurvePrivateKey]:
    """Return the keys that every service has, by name."""
    return {"release": pki.signer().ec_key, "p384": pki.key("p384", ec.SECP384R1)}


def _der(digest: bytes) -> bytes:
    return _keys()["release"].sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))


def _public(name: str, encoding: Encoding) -> bytes:
    return _keys()[name].public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@contextmanager
def _serving(handle: Handle, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Answer requests with JSON; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            value = json.loads(body) if body.startswith(b"{") else {}
            headers = {name.lower(): text for name, text in self.headers.items()}
            status, found, more = handle(self.path, headers, value)
            raw = json.dumps(found).encode()
            self.send_response(status)
            for name, text in {"content-type": "application/json", "content-length": str(len(raw)), **more}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = _answer  # noqa: N815  (the names that the base class calls)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def aws(_folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """AWS KMS with the key `alias/release`; yield its URI and what the environment must have."""

    def handle(_path: str, headers: dict[str, str], value: dict[str, Any]) -> Answer:
        name = value["KeyId"].removeprefix("alias/")
        if name not in _keys():
            return 400, {"__type": "NotFoundException", "message": f"Alias {value['KeyId']} is not found."}, {}
        if headers["x-amz-target"] == "TrentService.GetPublicKey":
            return 200, {"KeyId": name, "PublicKey": _base64(_public(name, Encoding.DER))}, {}
        assert headers["x-amz-target"] == "TrentService.Sign"
        assert (value["MessageType"], value["SigningAlgorithm"]) == ("DIGEST", "ECDSA_SHA_256")
        return 200, {"KeyId": name, "Signature": _base64(_der(base64.b64decode(value["Message"])))}, {}

    with _serving(handle) as port:
        environ = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "eu-central-1"}
        yield "awskms:///alias/release", {**environ, "AWS_ENDPOINT_URL_KMS": f"http://127.0.0.1:{port}"}


@contextmanager
def google(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Google Cloud KMS; as `aws`. The account is a file with a key, as for a build server elsewhere."""

    def handle(path: str, headers: dict[str, str], value: dict[str, Any]) -> Answer:
        assert headers["authorization"].startswith("Bearer ")
        place, _, verb = path.partition("?")[0].removeprefix("/v1/").partition(":")
        name = place.split("/")[7]
        if name in _keys() and place == f"{GOOGLE_KEY.replace('release', name)}/publicKey":
            return 200, {"pem": _public(name, Encoding.PEM).decode(), "name": place}, {}
        if place == GOOGLE_KEY and verb == "asymmetricSign":
            signature = _base64(_der(base64.b64decode(value["digest"]["sha256"])))
            return 200, {"name": GOOGLE_KEY, "signature": signature}, {}
        return 404, {"error": {"code": 404, "message": f"{name} not found.", "status": "NOT_FOUND"}}, {}

    account_key = rsa.generate_private_key(65537, 2048)
    account = {
        "type": "service_account",
        "client_email": "build@p.iam.gserviceaccount.com",
        "private_key": account_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "token_uri": "http://127.0.0.1:9/none",
    }
    (folder / "account.json").write_text(json.dumps(account))
    with _serving(handle) as port:
        yield (
            f"gcpkms://{GOOGLE_KEY}",
            {
                "GOOGLE_APPLICATION_CREDENTIALS": str(folder / "account.json"),
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS": f"http://127.0.0.1:{port}/",
            },
        )


@contextmanager
def azure(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Azure Key Vault by TLS, and beside it the service that gives a virtual machine its token; as `aws`."""

    def token(_path: str, headers: dict[str, str], _value: dict[str, Any]) -> Answer:
        assert headers["x-identity-header"] == "of this machine"
        end = int((datetime.now(UTC) + timedelta(hours=1)).timestamp())
        return 200, {"access_token": "token", "expires_on": str(end), "token_type": "Bearer"}, {}

    def handle(path: str, headers: dict[str, str], value: dict[str, Any]) -> Answer:
        host = headers["host"]
        if headers.get("authorization") != "Bearer token":
            # A client sends its token only to a host of the domain that the challenge names.
            resource = f"https://{host.partition('.')[2]}"
            return 401, {}, {"www-authenticate": f'Bearer authorization="https://none/t", resource="{resource}"'}
        place = path.partition("?")[0].strip("/")
        _, name, *rest = place.split("/")
        if name in _keys() and rest in ([], ["1"]):
            key = _keys()[name]
            numbers, size = key.public_key().public_numbers(), (key.key_size + 7) // 8
            x, y = (pki.base64url(number.to_bytes(size, "big")).decode() for number in (numbers.x, numbers.y))
            jwk = {"kid": f"https://{host}/keys/{name}/1", "kty": "EC", "crv": f"P-{key.key_size}", "x": x, "y": y}
            return 200, {"key": {**jwk, "key_ops": ["sign"]}, "attributes": {"enabled": True}}, {}
        if place == "keys/release/1/sign":
            assert value["alg"] == "ES256"
            pair = decode_dss_signature(_der(base64.urlsafe_b64decode(value["value"] + "==")))
            raw = b"".join(number.to_bytes(32, "big") for number in pair)
            return 200, {"kid": "1", "value": pki.base64url(raw).decode()}, {}
        return 404, {"error": {"code": "KeyNotFound", "message": f"{place} was not found"}}, {}

    with _serving(token) as token_port, _serving(handle, _tls(folder)) as port:
        yield (
            f"azurekms://127.0.0.1:{port}/release",
            {
                "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
                "IDENTITY_ENDPOINT": f"http://127.0.0.1:{token_port}/token",
                "IDENTITY_HEADER": "of this machine",
                "REQUESTS_CA_BUNDLE": str(folder / "tls.pem"),
            },
        )


def _tls(folder: Path) -> ssl.SSLContext:
    """Make a certificate for 127.0.0.1."""
    name, now, key = x509.Name([]), datetime.now(UTC), pki.key("tls")
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "tls.pem").write_bytes(certificate.public_bytes(Encoding.PEM) + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    return context


@contextmanager
def vault(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """OpenBao, whose interface is that of Vault, with the imported key; as `aws`."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [str(BAO), "server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root"]
    with running([*command, f"-dev-listen-address=127.0.0.1:{port}"], [port], folder / "bao.log", HOME=str(folder)):

        def call(path: str, value: dict[str, Any] | None = None) -> Any:
            body = None if value is None else json.dumps(value).encode()
            request = Request(f"{address}/v1/{path}", body, {"X-Vault-Token": "root"})
            with urlopen(request, timeout=60) as response:
                return json.loads(response.read() or b"null")

        call("sys/mounts/keys/of-cars", {"type": "transit"})
        wrapping = load_pem_public_key(call("keys/of-cars/wrapping_key")["data"]["public_key"].encode())
        assert isinstance(wrapping, rsa.RSAPublicKey)
        aes = os.urandom(32)
        pkcs8 = _keys()["release"].private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        ciphertext = wrapping.encrypt(aes, oaep) + aes_key_wrap_with_padding(aes, pkcs8)
        value = {"ciphertext": _base64(ciphertext), "type": "ecdsa-p256"}
        call("keys/of-cars/keys/release/import", value)
        call("keys/of-cars/keys/p384", {"type": "ecdsa-p384"})
        yield "hashivault://keys/of-cars/release", {"VAULT_ADDR": address, "VAULT_TOKEN": "root"}


SERVICES = {"awskms": aws, "gcpkms": google, "azurekms": azure, "hashivault": vault}
"""The services by the scheme of their URIs."""
