"""Signing with a key in a key service, named by a URI (one optional extra for each scheme).

Each service is called by its own client library, which finds the credentials as everywhere else. A
service gets the digest only. `securesystemslib` has signers for them, too, but its Vault signer
knows no P-256, and all take whole messages.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from otabuild.errors import InputError, how_to_install
from otabuild.signing.answer import parse_answer

GOOGLE_ENDPOINT = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS"
"""Environment variable with another address of Google's service, which `gcloud` also knows."""


class _Service(Protocol):
    def public_key(self) -> object:
        """Return the public key; `ec.EllipticCurvePublicKey` if it is for ECDSA."""

    def sign(self, digest: bytes) -> bytes:
        """Return a signature of a SHA-256, in any form that `parse_answer` reads."""


class KeyServiceSigner:
    """Signs with a P-256 key that never leaves its service.

    Args:
        uri: `awskms://[HOST]/KEY`, `gcpkms://projects/…/cryptoKeyVersions/N`,
            `azurekms://HOST/KEY[/VERSION]`, or `hashivault://[MOUNT/]KEY`.

    Raises:
        InputError: the extra of the service is not installed, the service cannot be reached or
            refuses, or the key is not on P-256.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        scheme, _, rest = uri.partition("://")
        # The key is looked up once before the build, and used at its end: nobody builds for hours
        # without a key.
        with self._told(scheme):
            self._service = _SERVICES[scheme](rest)
            key = self._service.public_key()
        if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)):
            raise InputError(
                "the key is not for ECDSA on P-256",
                where=uri,
                observed=type(key).__name__.strip("_"),
            )
        self._public_key = key

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public key that the service shows."""
        return self._public_key

    def sign(self, digest: bytes) -> bytes:
        """See `otabuild.signing.signer.Signer.sign`."""
        with self._told(self._uri.partition("://")[0]):
            answer = self._service.sign(digest)
        return parse_answer(answer, self._uri)

    @contextmanager
    def _told(self, extra: str) -> Iterator[None]:
        """Say in one way what went wrong.

        Every library has errors of its own, and passes on those of others.
        """
        try:
            yield
        except ImportError:
            raise InputError(
                "signing with this key service needs an extra",
                where=self._uri,
                hint=how_to_install(extra),
            ) from None
        except Exception as error:  # noqa: BLE001  (see above)
            raise InputError(
                "the key service did not do it",
                where=self._uri,
                observed=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
                hint=(
                    "it needs credentials that may read the public key and sign, and the name of a "
                    "key that exists"
                ),
            ) from None


class _Aws:
    """AWS KMS; `alias/NAME`, an id or an ARN names the key."""

    def __init__(self, rest: str) -> None:
        host, _, self._key = rest.partition("/")
        self._client = import_module("boto3").client(
            "kms", endpoint_url=f"https://{host}" if host else None
        )

    def public_key(self) -> object:
        return load_der_public_key(self._client.get_public_key(KeyId=self._key)["PublicKey"])

    def sign(self, digest: bytes) -> bytes:
        done = self._client.sign(
            KeyId=self._key, Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256"
        )
        return bytes(done["Signature"])


class _Google:
    """Google Cloud KMS; a key's version is named in full.

    By REST, because gRPC does not survive a fork.
    """

    def __init__(self, rest: str) -> None:
        self._key = rest
        address = os.environ.get(GOOGLE_ENDPOINT)
        options = {"api_endpoint": address.rstrip("/")} if address else None
        kms = import_module("google.cloud.kms")
        self._client = kms.KeyManagementServiceClient(transport="rest", client_options=options)

    def public_key(self) -> object:
        return load_pem_public_key(
            self._client.get_public_key(request={"name": self._key}).pem.encode()
        )

    def sign(self, digest: bytes) -> bytes:
        request = {"name": self._key, "digest": {"sha256": digest}}
        return bytes(self._client.asymmetric_sign(request=request).signature)


class _Azure:
    """Azure Key Vault, or Managed HSM."""

    def __init__(self, rest: str) -> None:
        host, _, name = rest.partition("/")
        name, _, version = name.partition("/")
        keys = import_module("azure.keyvault.keys")
        credential = import_module("azure.identity").DefaultAzureCredential()
        self._key = keys.KeyClient(f"https://{host}", credential).get_key(name, version or None)
        self._crypto = import_module("azure.keyvault.keys.crypto")
        self._client = self._crypto.CryptographyClient(self._key, credential)

    def public_key(self) -> object:
        key = self._key.key
        if key.crv != "P-256":
            return key.kty
        x, y = (int.from_bytes(number, "big") for number in (key.x, key.y))
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()

    def sign(self, digest: bytes) -> bytes:
        return bytes(self._client.sign(self._crypto.SignatureAlgorithm.es256, digest).signature)


class _Vault:
    """The transit engine of HashiCorp Vault or OpenBao.

    It is the newest version of the key when the build begins.
    """

    def __init__(self, rest: str) -> None:
        mount, _, self._name = rest.rpartition("/")
        self._mount = mount or "transit"
        self._transit = import_module("hvac").Client().secrets.transit
        found = self._transit.read_key(self._name, mount_point=self._mount)["data"]
        self._version = found["latest_version"]
        self._pem = found["keys"][str(self._version)]["public_key"]

    def public_key(self) -> object:
        return load_pem_public_key(self._pem.encode())

    def sign(self, digest: bytes) -> bytes:
        done = self._transit.sign_data(
            self._name,
            hash_input=base64.b64encode(digest).decode(),
            key_version=self._version,
            hash_algorithm="sha2-256",
            prehashed=True,
            marshaling_algorithm="asn1",
            mount_point=self._mount,
        )
        return str(done["data"]["signature"]).encode()


_SERVICES: dict[str, Callable[[str], _Service]] = {
    "awskms": _Aws,
    "gcpkms": _Google,
    "azurekms": _Azure,
    "hashivault": _Vault,
}
"""The services by scheme, which is also the name of their extra."""
