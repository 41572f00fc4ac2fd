"""A recipe as frozen models; the keys are documented in the recipe reference.

The docstring below a key is its description in the JSON Schema and in the reference.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from otabuild.format.annotations import INDEX_SHORT_KEYS
from otabuild.format.strict_yaml import YamlNode
from otabuild.recipe.fields import (
    Architecture,
    Capability,
    Mode,
    Model,
    Name,
    NumericOwner,
    Owner,
    Path,
    PathBase,
    PathOrUrl,
    Pattern,
    RefusedError,
    ReleaseName,
    RootfsPath,
    Size,
    Text,
    size_of,
)
from otabuild.recipe.sign import Sign, VerifyRecipe
from otabuild.recipe.sources import DirectoryRecipe, Sources


class Os(Model):
    """The operating system of a rootfs."""

    name: Text | None = None
    """Name, such as `Ubuntu`; default: NAME of etc/os-release."""
    version: Text | None = None
    """Version, such as `"22.04"`; default: VERSION_ID of etc/os-release."""


class Prepare(Model):
    """What to leave out of a rootfs and what to add to it, without changing the source."""

    clean: Literal["default", "none"] = "default"
    """`default` empties /dev, /proc, /sys, /run and /tmp and drops logs; `none` keeps everything."""
    exclude: tuple[Pattern, ...] = ()
    """Patterns to leave out: a leading `/` anchors at the root, `*` stays within a name, `**` crosses folders."""
    resolv_conf: Literal["stub", "keep"] = "stub"
    """`stub` makes /etc/resolv.conf the link of systemd-resolved unless it names loopback servers only."""


class Xattrs(Model):
    """Which extended attributes to drop."""

    drop: tuple[Text, ...] = ("security.selinux", "user.containers.*")
    """Names of extended attributes to drop; `*` matches any part of a name."""


class SetRecipe(Model):
    """Metadata to set on one path, regardless of the source."""

    path: RootfsPath
    """Absolute path inside the rootfs, such as `/usr/bin/ping`."""
    capability: Capability | None = None
    """File capabilities as for setcap, such as `cap_net_raw+ep`."""
    mode: Mode | None = None
    """Permission bits as octal text in quotes, such as `"0600"`."""
    owner: NumericOwner | None = None
    """Numeric owner, such as `"0:0"`."""


class RootfsRecipe(Model):
    """One rootfs: its sources and its preparation."""

    sources: Sources = Field(alias="source")
    """One source, or a list of sources; later ones are merged over earlier ones."""
    base_image: Text
    """What the rootfs was made from, such as `ubuntu:22.04`; recorded in the image."""
    os: Os = Os()
    """Operating system; default: read from etc/os-release."""
    architecture: Architecture
    """Architecture: `x86_64`, `aarch64` or `arm64` (not `amd64`), written to the image as it is here."""
    prepare: Prepare = Prepare()
    """What to leave out and what to add."""
    xattrs: Xattrs = Xattrs()
    """Which extended attributes to drop."""
    overlay: tuple[DirectoryRecipe, ...] = ()
    """Folders to merge over the sources, in this order. Of directories in both, they set owner, mode and attributes."""
    set: tuple[SetRecipe, ...] = ()
    """Owner, mode and capabilities of individual paths."""
    owner: Owner = "keep"
    """`keep`, or `"uid:gid"` for every entry (a tree made without root)."""
    unsupported: Literal["error", "warn", "skip"] = "error"
    """What to do about entries that the format cannot represent: fifos, sockets, devices, names that are not UTF-8."""
    partial: StrictBool = False
    """Whether a source or the rootfs may be empty (otherwise an error), or /etc and /usr be missing (otherwise a warning)."""
    one_file_system: StrictBool = True
    """Whether a mount inside a source directory is an error (true) or is walked (false)."""


class Hardware(Model):
    """The hardware of an ECU."""

    model: Text | None = None
    """Model, such as `orin-agx`."""
    series: Text | None = None
    """Series, such as `orin`."""


def _distinct(keys: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(keys)) != len(keys):
        raise RefusedError(
            "names a release key twice", observed=next(key for key in keys if keys.count(key) > 1)
        )
    return keys


class PayloadRecipe(Model):
    """The payload of one ECU."""

    ecu: Name
    """Id of the ECU."""
    release_keys: Annotated[
        tuple[Literal["dev", "prd"], ...], Field(min_length=1), AfterValidator(_distinct)
    ] = ("dev",)
    """Release keys under which the payload is offered."""
    rootfs: Name
    """Name of a rootfs of this recipe."""
    sys_config: Path | None = None
    """System configuration of the ECU (YAML), relative to the recipe; stored unchanged."""
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
    """Location of its sources."""
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
    """The place of the image in Web.Auto."""

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
    """Annotations of index.json.

    In addition to the short keys, any full key (with a dot) and a string value.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, StrictStr]

    platform: StrictStr | None = None
    """Code name of the platform; also goes to every manifest."""
    project: Project = Project()
    """The project that the image belongs to."""
    web_auto: WebAuto = WebAuto()
    """The place of the image in Web.Auto."""


class OtaclientRecipe(Model):
    """The otaclient release to include in the image."""

    release_dir: Path
    """Release folder with its manifest.json, relative to the recipe."""
    legacy: StrictBool = False
    """Also write the files that clients before image version 1 request."""


class StorageRecipe(Model):
    """How contents are bundled and compressed."""

    profile: Literal["update", "size", "reference"] = "update"
    """`update`: small downloads between releases; `size`: a small artifact; `reference`: like the reference builder."""
    bundle_member_max: Annotated[Size, size_of(65, 4 << 20)] | None = None
    """Largest file that goes into a bundle, 65 bytes to 4MiB."""
    bundle_size: Annotated[Size, size_of(4096, 32 << 20)] | None = None
    """Target size of bundles, 4KiB to 32MiB."""
    bundle_level: Annotated[StrictInt, Field(ge=1, le=22)] | None = None
    """zstd level of bundles, 1 to 22."""
    compress_level: Annotated[StrictInt, Field(ge=1, le=22)] | None = None
    """zstd level of single files, 1 to 22."""
    base: PathOrUrl | None = None
    """The previous release, by path or URL. What it has is not compressed again if a signer whom `verify.trust` trusts
    signed it; its bundles are reused while they are still worth it."""

    @model_validator(mode="after")
    def _members_fit(self) -> Self:
        if (
            self.bundle_member_max
            and self.bundle_size
            and self.bundle_member_max > self.bundle_size
        ):
            raise RefusedError("has a bundle-member-max that is larger than its bundle-size")
        return self


class SbomRecipe(Model):
    """The bill of materials to write beside the artifact."""

    format: Literal["cyclonedx"]
    """`cyclonedx`: CycloneDX 1.6 as JSON, in the file of the artifact's name with `.cdx.json` after it."""
    unpackaged: StrictBool = False
    """Whether to list files that belong to no package, each with its digest."""
    vex: Path | None = None
    """A VEX document (OpenVEX or CycloneDX) about components of the bill of materials; it is copied beside the artifact,
    with `.vex.json` after the artifact's name."""


class PublishRecipe(Model):
    """Where the image is published."""

    store: PathOrUrl
    """The store: a folder, relative to the recipe, or `s3://…`, `gs://…`, `az://…`, `https://…`, without a password."""
    name: ReleaseName
    """The name of the release, such as `"${git:describe}"`. What is published under a name never changes."""


class Recipe(Model):
    """A recipe for one image."""

    file: SkipJsonSchema[str] = Field(alias="\0file")
    """The file of the recipe, relative to the root. It is not a key of the recipe: YAML cannot write its alias."""
    recipe: Literal[1]
    """Version of the recipe format: the number 1."""
    name: Name
    """Name of the recipe; default: the stem of its file."""
    output: Path | None
    """Artifact to write, relative to the recipe, such as `dist/vehicle-${git:describe}.zip`."""
    output_dir: Path | None = None
    """Image directory to write in addition, ready for a file server."""
    timestamp: int
    """Time of the build: `commit` (of HEAD), `now`, or ISO 8601; SOURCE_DATE_EPOCH has precedence."""
    annotations: Annotations = Annotations()
    """Annotations of the image."""
    rootfs: Annotated[
        dict[Name, RootfsRecipe],
        Field(min_length=1, json_schema_extra={"additionalProperties": False}),
    ]
    """Root file systems by name."""
    payloads: Annotated[tuple[PayloadRecipe, ...], Field(min_length=1)]
    """The payloads, one for each ECU."""
    otaclient_package: OtaclientRecipe | None = None
    """The otaclient release to include in the image."""
    storage: StorageRecipe = StorageRecipe()
    """How contents are bundled and compressed."""
    sbom: SbomRecipe | None = None
    """The bill of materials to write beside the artifact; needs the extra `sbom`."""
    provenance: StrictBool = False
    """Write how the artifact was made beside it, signed as the image is; OTABUILD_BUILDER_ID says who builds."""
    sign: Sign | None = None
    """How the image is signed; without it, the image is not signed."""
    verify: VerifyRecipe | None = None
    """What `doit verify` trusts."""
    publish: PublishRecipe | None = None
    """Where `doit publish` publishes the image as a release. With it, `output` may be left out: then no artifact is written,
    and the image goes from the work directory into the store."""

    _tree: YamlNode = PrivateAttr(default=YamlNode("null", 1, 1))

    @classmethod
    def of_tree(cls, values: dict[str, Any], tree: YamlNode, context: PathBase) -> Self:
        """Validate plain values, and keep the YAML that they come from.

        Raises:
            ValidationError: they are not a recipe.
        """
        recipe = cls.model_validate(values, context=context)
        recipe._tree = tree  # noqa: SLF001 its own
        return recipe

    @property
    def tree(self) -> YamlNode:
        """The YAML that the recipe was loaded from, in which every value knows its place."""
        return self._tree

    @property
    def index_annotations(self) -> dict[str, str]:
        """Return the annotations of index.json that the recipe sets, by their full keys."""
        return {
            INDEX_SHORT_KEYS.get(key, key): text
            for key, text in _flat(
                self.annotations.model_dump(by_alias=True, exclude_none=True), ""
            )
        }


def _flat(annotations: dict[str, Any], prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in annotations.items():
        found += (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
        )
    return found
