"""A recipe as frozen models; every key is one of the contract in the recipe reference.

The docstring below a key is its description in the JSON Schema and in the reference.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    Tag,
)
from pydantic.json_schema import SkipJsonSchema

from otabuild.format.annotations import INDEX_SHORT_KEYS
from otabuild.recipe.fields import (
    Capability,
    EnvName,
    Mode,
    Model,
    Name,
    NumericOwner,
    Oci,
    Owner,
    Path,
    PathOrStdin,
    Pattern,
    Platform,
    RefusedError,
    RootfsPath,
    Size,
    Text,
    size_of,
)


class DirectorySource(Model):
    """A directory tree."""

    directory: Path
    """Folder to read, relative to the recipe."""
    owner: Owner | None = None
    """Owner of every entry of this source; default: the `owner` of the rootfs."""


class TarSource(Model):
    """A tar archive."""

    tar: PathOrStdin
    """Archive to read (plain, gzip, xz, bzip2 or zstd), relative to the recipe; `-` is standard input."""
    owner: Owner | None = None
    """Owner of every entry of this source; default: the `owner` of the rootfs."""


class OciSource(Model):
    """An image in an OCI layout."""

    oci: Oci
    """Layout (a directory or a tar of it) and image: `layout:tag` or `layout@sha256:…`."""
    platform: Platform | None = None
    """Which image of a multi-platform index, such as `linux/arm64`."""
    owner: Owner | None = None
    """Owner of every entry of this source; default: the `owner` of the rootfs."""


class DockerArchiveSource(Model):
    """An archive that `docker save` made."""

    docker_archive: Path
    """Archive to read, relative to the recipe."""
    tag: Text | None = None
    """Which image of the archive, such as `vehicle:latest`; needed where it holds several."""
    owner: Owner | None = None
    """Owner of every entry of this source; default: the `owner` of the rootfs."""


def _one_of(kinds: tuple[str, ...]) -> Discriminator:
    def kind(value: Any) -> str | None:
        found = [name for name in kinds if isinstance(value, dict) and name in value]
        return f"<{found[0]}>" if len(found) == 1 else None

    listed = ", ".join(kinds)
    return Discriminator(kind, custom_error_type="one_of", custom_error_message="must hold exactly one of " + listed)


Source = Annotated[
    Annotated[DirectorySource, Tag("<directory>")]
    | Annotated[TarSource, Tag("<tar>")]
    | Annotated[OciSource, Tag("<oci>")]
    | Annotated[DockerArchiveSource, Tag("<docker-archive>")],
    _one_of(("directory", "tar", "oci", "docker-archive")),
]


def _listed(value: object) -> object:
    if isinstance(value, str):
        raise RefusedError(
            "does not say what it is", hint=f"write source: {{directory: {value}}}, or tar, oci, docker-archive"
        )
    return [value] if isinstance(value, dict) else value


Sources = Annotated[
    tuple[Source, ...],
    Field(min_length=1),
    BeforeValidator(_listed, json_schema_input_type=Source | Annotated[list[Source], Field(min_length=1)]),
]


class Os(Model):
    """The operating system of a rootfs."""

    name: Text | None = None
    """Name, such as `Ubuntu`; default: NAME of etc/os-release."""
    version: Text | None = None
    """Version, such as `"22.04"`; default: VERSION_ID of etc/os-release."""


class Prepare(Model):
    """What is left out of a rootfs, and made up, without touching the source."""

    clean: Literal["default", "none"] = "default"
    """`default` empties /dev, /proc, /sys, /run and /tmp and drops logs; `none` keeps all."""
    exclude: tuple[Pattern, ...] = ()
    """Patterns of what to leave out: a leading `/` anchors at the root, `*` stays within a name, `**` crosses folders."""
    resolv_conf: Literal["stub", "keep"] = "stub"
    """`stub` makes /etc/resolv.conf the link of systemd-resolved unless it names loopback servers only."""


class Xattrs(Model):
    """Which extended attributes are dropped."""

    drop: tuple[Text, ...] = ("security.selinux", "user.containers.*")
    """Names of extended attributes to drop; `*` stands for any part."""


class SetRule(Model):
    """Metadata that one path gets, whatever the source says."""

    path: RootfsPath
    """Absolute path inside the rootfs, such as `/usr/bin/ping`."""
    capability: Capability | None = None
    """File capabilities as for setcap, such as `cap_net_raw+ep`."""
    mode: Mode | None = None
    """Permission bits in octal and in quotes, such as `"0600"`."""
    owner: NumericOwner | None = None
    """Owner in numbers, such as `"0:0"`."""


class RootfsRecipe(Model):
    """One rootfs: where it comes from and how it is prepared."""

    sources: Sources = Field(alias="source")
    """One source, or a list of them in which later ones go over earlier ones."""
    base_image: Text
    """What the rootfs was made from, such as `ubuntu:22.04`; recorded in the image."""
    os: Os = Os()
    """Operating system; default: read from etc/os-release."""
    architecture: Name
    """Architecture, such as `x86_64` or `arm64`."""
    prepare: Prepare = Prepare()
    """What is left out and made up."""
    xattrs: Xattrs = Xattrs()
    """Which extended attributes are dropped."""
    overlay: tuple[DirectorySource, ...] = ()
    """Folders that go over the sources, in this order."""
    set: tuple[SetRule, ...] = ()
    """Owner, mode and capabilities of single paths."""
    owner: Owner = "keep"
    """`keep`, or `"uid:gid"` for every entry (a tree made without root)."""
    unsupported: Literal["error", "warn", "skip"] = "error"
    """What happens on what the format cannot hold: fifos, sockets, devices, names that are not UTF-8."""
    one_file_system: StrictBool = True
    """A mount inside a source directory is an error (true), or is walked (false)."""


class Hardware(Model):
    """The hardware of an ECU."""

    model: Text | None = None
    """Model, such as `orin-agx`."""
    series: Text | None = None
    """Series, such as `orin`."""


def _distinct(keys: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(keys)) != len(keys):
        raise RefusedError("names a release key twice")
    return keys


class PayloadRecipe(Model):
    """What one ECU gets."""

    ecu: Name
    """Id of the ECU."""
    release_keys: Annotated[tuple[Literal["dev", "prd"], ...], Field(min_length=1), AfterValidator(_distinct)] = (
        "dev",
    )
    """Release keys under which the payload is offered."""
    rootfs: Name
    """Name of a rootfs of this recipe."""
    sys_config: Path | None = None
    """System configuration of the ECU (YAML), relative to the recipe; stored as it is."""
    hardware: Hardware = Hardware()
    """Hardware of the ECU."""
    description: Text | None = None
    """Free text, stored in the image config."""


class Project(Model):
    """The project that the image belongs to."""

    name: StrictStr | None = None
    """Name of the project."""
    version: StrictStr | None = None
    """Version of the project, in quotes: `"1.2.3"`."""
    source_repo: StrictStr | None = None
    """Where its sources are."""
    release_commit: StrictStr | None = None
    """Commit of the release, such as `"${git:commit}"`."""
    release_branch: StrictStr | None = None
    """Branch of the release, such as `"${git:branch}"`."""


class Cicd(Model):
    """The release in the delivery system."""

    release_id: StrictStr | None = None
    """Id of the release."""
    release_name: StrictStr | None = None
    """Name of the release."""


class WebAuto(Model):
    """Where the image belongs in Web.Auto."""

    project: StrictStr | None = None
    """Name of the project."""
    project_id: StrictStr | None = None
    """Id of the project."""
    catalog: StrictStr | None = None
    """Name of the catalog."""
    catalog_id: StrictStr | None = None
    """Id of the catalog."""
    env: StrictStr | None = None
    """Environment."""
    cicd: Cicd = Cicd()
    """The release in the delivery system."""


class Annotations(Model):
    """Annotations of index.json; besides the short keys any full key (one with a dot) with a string."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, StrictStr]

    platform: StrictStr | None = None
    """Code name of the platform; also goes to every manifest."""
    project: Project = Project()
    """The project that the image belongs to."""
    web_auto: WebAuto = WebAuto()
    """Where the image belongs in Web.Auto."""


class OtaclientPackage(Model):
    """The otaclient release that travels in the image."""

    release_dir: Path
    """Release folder with its manifest.json, relative to the recipe."""
    legacy: StrictBool = False
    """Also write the files that clients before image version 1 ask for."""


class Storage(Model):
    """How contents are bundled and compressed."""

    profile: Literal["update", "size", "reference"] = "update"
    """`update`: small downloads from release to release; `size`: a small artifact; `reference`: as the reference builder."""
    bundle_member_max: Annotated[Size, size_of(65, 4 << 20)] | None = None
    """Largest file that goes into a bundle, 65 bytes to 4MiB."""
    bundle_size: Annotated[Size, size_of(4096, 32 << 20)] | None = None
    """Size that bundles aim at, 4KiB to 32MiB."""
    bundle_level: Annotated[StrictInt, Field(ge=1, le=22)] | None = None
    """zstd level of bundles, 1 to 22."""
    compress_level: Annotated[StrictInt, Field(ge=1, le=22)] | None = None
    """zstd level of single files, 1 to 22."""
    base: Path | None = None
    """Artifact of the previous release; bundles that still hold are taken over from it."""


class FileKey(Model):
    """A private key in a PEM file."""

    file: Path
    """PEM file of the private key, relative to the recipe."""


class EnvKey(Model):
    """A private key in the environment."""

    env: EnvName
    """Environment variable that holds the private key as PEM."""


class CommandKey(Model):
    """A program that signs."""

    command: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Program and arguments; it gets the SHA-256 digest on standard input and writes the signature."""


def _pkcs11_uri(text: str) -> str:
    if not text.startswith("pkcs11:"):
        raise RefusedError("is no PKCS#11 URI", expected='such as "pkcs11:token=release;object=ota-key"')
    if "pin-value=" in text:
        raise RefusedError(
            "holds a PIN, and a recipe is no place for secrets", hint="use `passphrase: {env: NAME}` for the PIN"
        )
    return text


class Pkcs11Key(Model):
    """A private key in a token."""

    pkcs11: Annotated[StrictStr, AfterValidator(_pkcs11_uri)]
    """PKCS#11 URI of the key, without a PIN."""


def _key_kind(value: Any) -> str | None:
    if value == "external":
        return "<external>"
    found = [name for name in _KEYS if isinstance(value, dict) and name in value]
    return f"<{found[0]}>" if len(found) == 1 else None


_KEYS = ("file", "env", "command", "pkcs11")

Key = Annotated[
    Annotated[FileKey, Tag("<file>")]
    | Annotated[EnvKey, Tag("<env>")]
    | Annotated[CommandKey, Tag("<command>")]
    | Annotated[Pkcs11Key, Tag("<pkcs11>")]
    | Annotated[Literal["external"], Tag("<external>")],
    Discriminator(
        _key_kind,
        custom_error_type="one_of",
        custom_error_message="must be `external`, or hold exactly one of file, env, command, pkcs11",
    ),
]


class EnvSecret(Model):
    """A passphrase in the environment."""

    env: EnvName
    """Environment variable that holds the passphrase."""


class FdSecret(Model):
    """A passphrase behind a file descriptor."""

    fd: Annotated[StrictInt, Field(ge=0)]
    """Number of the file descriptor to read the passphrase from."""


def _secret_kind(value: Any) -> str | None:
    if value == "prompt":
        return "<prompt>"
    found = [name for name in ("env", "fd") if isinstance(value, dict) and name in value]
    return f"<{found[0]}>" if len(found) == 1 else None


Secret = Annotated[
    Annotated[EnvSecret, Tag("<env>")]
    | Annotated[FdSecret, Tag("<fd>")]
    | Annotated[Literal["prompt"], Tag("<prompt>")],
    Discriminator(
        _secret_kind,
        custom_error_type="one_of",
        custom_error_message="must be `prompt`, or hold exactly one of env, fd",
    ),
]


class Sign(Model):
    """How the image is signed."""

    certificate: Path
    """Signing certificate (PEM), relative to the recipe."""
    chain: tuple[Path, ...] = ()
    """Intermediate certificates (PEM), the signer's issuer first, without the root."""
    key: Key
    """Private key: a file, an environment variable, a program, a token, or `external`."""
    passphrase: Secret | None = None
    """Where the passphrase of the key (or PIN of the token) comes from; never the passphrase itself."""


class VerifyRecipe(Model):
    """What an image built from this recipe is verified against."""

    trust: Annotated[tuple[Path, ...], Field(min_length=1)]
    """CA certificates (PEM files or folders of them), relative to the recipe."""
    eku: Literal["codeSigning-if-present", "strict"] = "codeSigning-if-present"
    """`strict` demands the extended key usage codeSigning of the signer; the default demands it where there is any."""
    allowed_signers: tuple[Text, ...] = ()
    """Common names of signers to accept; empty accepts any signer that the trusted CAs vouch for."""
    crl: tuple[Path, ...] = ()
    """Certificate revocation lists, relative to the recipe."""


class Recipe(Model):
    """A recipe for one image."""

    file: SkipJsonSchema[str] = Field(alias="\0file")
    """The file of the recipe, relative to the root; not a key of it, so no YAML can write its alias."""
    recipe: Literal[1]
    """Version of the recipe format: the number 1."""
    name: Name
    """Name of the recipe; default: the stem of its file."""
    output: Path
    """Artifact to write, relative to the recipe, such as `dist/vehicle-${git:describe}.zip`."""
    output_dir: Path | None = None
    """Image directory to write as well, ready for a file server."""
    timestamp: int
    """Time of the build: `commit` (of HEAD), `now`, or ISO 8601; SOURCE_DATE_EPOCH wins."""
    annotations: Annotations = Annotations()
    """Annotations of the image."""
    rootfs: Annotated[dict[Name, RootfsRecipe], Field(min_length=1, json_schema_extra={"additionalProperties": False})]
    """Root file systems by name."""
    payloads: Annotated[tuple[PayloadRecipe, ...], Field(min_length=1)]
    """What each ECU gets."""
    otaclient_package: OtaclientPackage | None = None
    """The otaclient release that travels in the image."""
    storage: Storage = Storage()
    """How contents are bundled and compressed."""
    sign: Sign | None = None
    """How the image is signed; left out: it is not."""
    verify: VerifyRecipe | None = None
    """What `doit verify` trusts."""

    @property
    def index_annotations(self) -> dict[str, str]:
        """The annotations of index.json that the recipe sets, by their full keys."""
        return {
            INDEX_SHORT_KEYS.get(key, key): text
            for key, text in _flat(self.annotations.model_dump(by_alias=True, exclude_none=True), "")
        }


def _flat(annotations: dict[str, Any], prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in annotations.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return found
