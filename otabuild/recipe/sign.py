"""How an image is signed and verified."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    Tag,
    WithJsonSchema,
    model_validator,
)

from otabuild.recipe.fields import EnvName, Model, Path, RefusedError, Text, one_of


class FileKey(Model):
    """A private key in a PEM file."""

    file: Path
    """PEM file of the private key, relative to the recipe."""


class EnvKey(Model):
    """A private key in an environment variable."""

    env: EnvName
    """Environment variable that holds the private key as PEM."""


class CommandKey(Model):
    """A program that signs."""

    command: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Program and arguments; it reads the SHA-256 digest from standard input and writes the signature."""


def _pkcs11_uri(text: str) -> str:
    if not text.startswith("pkcs11:"):
        raise RefusedError(
            "is not a PKCS#11 URI", expected='such as "pkcs11:token=release;object=ota-key"'
        )
    if "pin-value=" in text:
        raise RefusedError(
            "contains a PIN, but secrets do not belong in a recipe",
            hint="use `passphrase: {env: NAME}` for the PIN",
        )
    return text


class Pkcs11Key(Model):
    """A private key in a token."""

    pkcs11: Annotated[StrictStr, AfterValidator(_pkcs11_uri)]
    """PKCS#11 URI of the key, without a PIN."""


class ServiceKey(str):
    """A private key in a key service, by its URI."""

    __slots__ = ()


_SERVICES = {
    "awskms": r"[^/]*/.+",
    "gcpkms": r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+"
    r"/cryptoKeys/[^/]+/cryptoKeyVersions/[^/]+",
    "azurekms": r"[^/]+/[^/]+(/[^/]+)?",
    "hashivault": r".*[^/]",
}
_EXAMPLES = (
    "awskms:///alias/NAME, "
    "gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N, "
    "azurekms://HOST/KEY or hashivault://KEY"
)


def _service_uri(text: str) -> ServiceKey:
    scheme, _, rest = text.partition("://")
    if scheme not in _SERVICES:
        raise RefusedError("is not a key service that otabuild knows", expected=_EXAMPLES)
    if not re.fullmatch(_SERVICES[scheme], rest):
        raise RefusedError("does not name a key of this service", expected=_EXAMPLES)
    return ServiceKey(text)


SigningKey = Annotated[
    Annotated[FileKey, Tag("<file>")]
    | Annotated[EnvKey, Tag("<env>")]
    | Annotated[CommandKey, Tag("<command>")]
    | Annotated[Pkcs11Key, Tag("<pkcs11>")]
    | Annotated[Literal["external"], Tag("<external>")]
    | Annotated[
        StrictStr,
        AfterValidator(_service_uri),
        WithJsonSchema({"type": "string", "pattern": f"^({'|'.join(_SERVICES)})://"}),
        Tag("<uri>"),
    ],
    one_of("file", "env", "command", "pkcs11", word="external", uri="awskms:///alias/release"),
]


class EnvSecret(Model):
    """A passphrase in an environment variable."""

    env: EnvName
    """Environment variable that holds the passphrase."""


class FdSecret(Model):
    """A passphrase from a file descriptor."""

    fd: Annotated[StrictInt, Field(ge=0)]
    """Number of the file descriptor to read the passphrase from."""


Secret = Annotated[
    Annotated[EnvSecret, Tag("<env>")]
    | Annotated[FdSecret, Tag("<fd>")]
    | Annotated[Literal["prompt"], Tag("<prompt>")],
    one_of("env", "fd", word="prompt"),
]


class Sign(Model):
    """How the image is signed."""

    certificate: Path
    """Signing certificate (PEM), relative to the recipe."""
    chain: tuple[Path, ...] = ()
    """Intermediate certificates (PEM), the signer's issuer first, without the root."""
    key: SigningKey
    """Private key: a file, an environment variable, a program, a token, the URI of a key service, or `external`."""
    passphrase: Secret | None = None
    """Source of the passphrase of the key (or the PIN of the token); never the passphrase itself."""


class VerifyRecipe(Model):
    """What an image built from this recipe is verified against."""

    trust: Annotated[tuple[Path, ...], Field(min_length=1)] = ()
    """CA certificates (PEM files or folders of them), relative to the recipe; required unless `unsigned` is true."""
    unsigned: StrictBool = False
    """The image is meant to have no signature: `doit verify` checks everything else, and accepts it."""
    eku: Literal["codeSigning-if-present", "strict"] = "codeSigning-if-present"
    """`strict` requires the extended key usage codeSigning of the signer; the default requires it if it has any."""
    allowed_signers: tuple[Text, ...] = ()
    """Accepted signers, by common name or whole subject (RFC 4514); empty: any that the trusted CAs vouch for."""
    crl: tuple[Path, ...] = ()
    """Revocation lists, relative to the recipe; with any, every issuer of the chain needs a current one."""

    @model_validator(mode="after")
    def _says_whom_to_trust(self) -> Self:
        if not self.trust and not self.unsigned:
            hint = (
                "`trust: [root.pem]`, or `unsigned: true` for an image that is meant "
                "to have no signature"
            )
            raise RefusedError("does not say whom to trust", hint=hint)
        return self
