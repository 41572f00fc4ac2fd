"""Tampered documents, signatures and entry orders: threats S, J and Z5."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from otabuild.format.annotations import OS_VERSION
from tests import pki
from tests.image import forge
from tests.image.forge import Mutation
from tests.image.zip_forge import Entry
from tests.verification.tampering import Case, case, constant, put


def documents() -> Iterator[Case]:
    for name, change in {
        "duplicate-key": lambda raw: raw.replace(b'{"schemaVersion"', b'{"schemaVersion": 2, "schemaVersion"'),
        "case-equal-key": lambda raw: raw.replace(b'{"schemaVersion"', b'{"SchemaVersion": 2, "schemaVersion"'),
        "nan": lambda raw: raw.replace(b'{"schemaVersion"', b'{"x": NaN, "schemaVersion"'),
        "infinite": lambda raw: raw.replace(b'{"schemaVersion"', b'{"x": 1e400, "schemaVersion"'),
        "null": lambda raw: raw.replace(b'{"schemaVersion"', b'{"x": null, "schemaVersion"'),
        "bom": lambda raw: b"\xef\xbb\xbf" + raw,
        "utf-16": lambda raw: raw.decode().encode("utf-16"),
        "surrogate": lambda raw: raw.replace(b'{"schemaVersion"', b'{"x": "\\ud800", "schemaVersion"'),
        "trailing": lambda raw: raw + b"x",
        "empty": constant(b""),
        "list": constant(b"[]"),
    }.items():
        for document, rule in (("index", "index"), ("manifest", "manifest"), ("config", "config")):
            yield case(f"J1-{document}-{name}", rule, "FormatError", **{f"{document}_raw": change})
    deep = b'{"x":' * 100_000 + b"1" + b"}" * 100_000
    yield case("J1-index-depth", "index", "LimitError", index_raw=constant(deep))
    yield case("J4-index-too-large", "index signature", "LimitError", index_raw=lambda raw: raw + b" " * (9 << 20))
    yield case("J4-manifest-too-large", "manifest", "LimitError", manifest_raw=lambda raw: raw + b" " * (2 << 20))
    for document in ("index", "manifest", "config"):
        for value in (1 if document != "config" else 2, 2.0, True, "2", ...):
            yield case(
                f"J2-{document}-version-{value}", document, "FormatError", **{document: put("schemaVersion", value)}
            )
        for value in ("text/plain", ...):
            change = put("mediaType", value)
            yield case(f"J2-{document}-media-type-{value}", document, "FormatError", **{document: change})
    yield case("J2-manifest-artifact-type", "manifest", "FormatError", manifest=put("artifactType", "x"))
    for key in ("config", "layers", "annotations"):
        yield case(f"J2-manifest-no-{key}", "manifest", "FormatError", manifest=put(key, ...))
    for key in ("architecture", "file_table", "labels"):
        yield case(f"J2-config-no-{key}", "config", "FormatError", config=put(key, ...))
    for key in ("manifests", "annotations"):
        yield case(f"J2-index-no-{key}", "index", "FormatError", index=put(key, ...))
    for value in ("md5", ...):
        change = put("resource_digest_alg", value)
        yield case(f"J2-config-digest-algorithm-{value}", "config", "FormatError", config=change)
    yield from _number_cases()
    yield from _index_cases()
    yield _no_payload()
    yield from _payload_cases()


def _number_cases() -> Iterator[Case]:
    yield case("J2-number-annotation", "index", "FormatError", index=put("annotations|vnd.tier4.web-auto.env", 5))
    yield case("J2-number-label", "config", "FormatError", config=put("labels|vnd.tier4.image.os", 5))
    yield case(
        "J2-number-manifest-annotation", "manifest", "FormatError", manifest=put(f"annotations|{forge.PILOT}", 5)
    )
    elsewhere = {
        "index-release-key": ("index", "annotations|vnd.tier4.ota.release-key"),
        "index-base-image": ("index", "annotations|vnd.tier4.image.base-image"),
        "descriptor-platform": ("index", f"manifests|0|annotations|{forge.PILOT}"),
        "manifest-version": ("manifest", "annotations|vnd.tier4.pilot-auto.project.version"),
        "config-platform": ("config", f"labels|{forge.PILOT}"),
        "config-env": ("config", "labels|vnd.tier4.web-auto.env"),
    }
    for name, (document, place) in elsewhere.items():
        yield case(f"J2-number-elsewhere-{name}", document, "FormatError", **{document: put(place, 1.5)})
    numbered = {"annotations": {"vnd.tier4.image.os": 12}}
    yield case("J2-number-of-layer", "manifest", "FormatError", file_table_descriptor=lambda d: d | numbered)
    for name in ("created-at", "signed-at"):
        late = put(f"annotations|{forge.COUNT}.{name}", 253_402_300_800)
        yield case(f"J2-{name}-after-9999", "index", "FormatError", index=late)


def _index_cases() -> Iterator[Case]:
    def twice(index: dict[str, Any]) -> None:
        index["manifests"].insert(0, index["manifests"][0])

    def two_tables(index: dict[str, Any]) -> None:
        index["manifests"].append(index["manifests"][-1])

    def unknown(media_type: str, artifact_type: str, **annotations: str) -> Mutation:
        def mutate(index: dict[str, Any]) -> None:
            first = index["manifests"][0]
            index["manifests"].append(
                first | {"mediaType": media_type, "artifactType": artifact_type, "annotations": annotations}
            )

        return mutate

    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    yield case("J3-payload-twice", "index", "FormatError", index=twice)
    yield case("J3-two-resource-tables", "index", "FormatError", index=two_tables)
    yield case("J3-no-resource-table", "index", "FormatError", index=lambda index: index["manifests"].pop() and None)
    yield case("J3-unknown-artifact", "index.unknown", None, index=unknown(manifest_type, "x/y"))
    yield case("J3-unknown-media-type", "index.unknown", None, index=unknown("x/y", f"{forge.OTA}.v1"))
    key = {f"{forge.PILOT}.ecu": "other", "vnd.tier4.ota.release-key": "beta"}
    yield case("J3-unknown-release-key", "index.unknown", None, index=unknown(manifest_type, f"{forge.OTA}.v1", **key))
    yield case("J3-no-ecu", "index", "FormatError", index=put("manifests|0|annotations", {}))
    yield case("J2-not-finalized", "index.finalized", None, index=put(f"annotations|{forge.COUNT}.created-at", ...))
    yield case("J2-no-signed-at", "index.signed-at", None, index=put(f"annotations|{forge.COUNT}.signed-at", ...))
    yield case(
        "J2-no-builder", "index", "FormatError", index=put("annotations|vnd.tier4.ota.ota-image-builder.version", ...)
    )
    for name in ("blobs-count", "blobs-size"):
        for value in (3, ...):
            change = put(f"annotations|{forge.COUNT}.{name}", value)
            yield case(f"J6-index-{name}-{value}", "blobs.count", None, index=change)
    for digest in ("sha256:" + "A" * 64, "sha512:" + "a" * 64, "sha256:" + "a" * 63, "sha256:" + "a" * 64 + " ", "x"):
        yield case(
            f"J2-digest-{digest[:8]}-{len(digest)}", "index", "FormatError", index=put("manifests|0|digest", digest)
        )
    for size in (-1, 1.0, "1", True):
        yield case(f"J2-size-{size!r}", "index", "FormatError", index=put("manifests|0|size", size))
    yield case("J4-manifest-size", "manifest", "IntegrityError", index=put("manifests|0|size", 1))
    yield case("J4-resource-table-size", "resources", "IntegrityError", index=put("manifests|1|size", 1))
    missing = "sha256:" + "0" * 64
    yield case("J4-manifest-missing", "manifest", "NoSuchFileError", index=put("manifests|0|digest", missing))
    yield case(
        "container-layout-missing",
        "container.layout",
        None,
        files=lambda files: [f for f in files if f[0] != "oci-layout"],
    )
    for number, text in enumerate(
        (b'{"imageLayoutVersion":"1.0.1"}', b'{"imageLayoutVersion":"1.0.0","x":1}', b"x", b"")
    ):
        yield case(f"container-layout-{number}", "container.layout", None, oci_layout=constant(text))


def _no_payload() -> Case:
    """An image with only a resource table and its leaves."""
    kept: list[str] = []

    def manifests(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept.extend([found[-1]["digest"][7:], *(digest.hex() for digest in forge.resource_rows()[1])])
        return found[-1:]

    def blob_files(names: dict[str, bytes]) -> dict[str, bytes]:
        return {name: data for name, data in names.items() if name.rpartition("/")[2] in kept}

    return case("J3-no-payload", "index.payloads", "InputError", manifests=manifests, blob_files=blob_files)


def containers() -> Iterator[Case]:
    def moved(entries: list[Entry]) -> None:
        entries.append(entries.pop(0))

    yield case("Z5-first", "container.first", None, zip=moved)
    yield case("Z5-second", "container.first", None, zip=lambda entries: entries.insert(5, entries.pop(1)))


def _payload_cases() -> Iterator[Case]:
    ecu, key = f"annotations|{forge.PILOT}.ecu", "annotations|vnd.tier4.ota.release-key"
    yield case("J5-ecu", "manifest.annotations", "FormatError", manifest=put(ecu, "other"))
    yield case("J5-release-key", "manifest.annotations", "FormatError", manifest=put(key, "prd"))
    yield case("J5-no-release-key", "manifest.annotations", "FormatError", manifest=put(key, ...))
    yield case("J5-os", "config.os", "FormatError", config=put("os", "Ubuntu"))
    yield case("J5-os-in-label-only", "config.os", "FormatError", config=put("os", ...))
    yield case("J5-os-version-in-label-only", "config.os", "FormatError", config=put(f"labels|{OS_VERSION}", "12"))
    yield case("J5-os-version-in-config-only", "config.os", "FormatError", config=put("os.version", "12"))
    yield case("J5-no-layer", "manifest", "FormatError", manifest=put("layers", []))
    yield case("J5-layer-twice", "manifest", "FormatError", manifest=lambda m: m["layers"].append(m["layers"][0]))
    yield case("J5-file-table", "config.file-table", "FormatError", config=put("file_table|size", 1))
    yield case("J4-config-size", "config", "IntegrityError", config_descriptor=lambda d: d | {"size": d["size"] + 1})
    yield case(
        "J4-config-missing",
        "config",
        "NoSuchFileError",
        config_descriptor=lambda d: d | {"digest": "sha256:" + "0" * 64},
    )
    yield case("J4-sys-config-size", "sys-config", "IntegrityError", sys_config_descriptor=lambda d: d | {"size": 3})
    yield case("J4-second-table-size", "table", None, second=lambda d: d | {"size": d["size"] + 1})
    yield case("J4-second-table-media-type", "table", None, second=lambda d: d | {"mediaType": d["mediaType"][:-5]})
    counted = ["blobs-count", "blobs-size"]
    labels = [f"{forge.COUNT}.{name}" for name in counted]
    names = ("size", "regular-files-count", "non-regular-files-count", "dirs-count")
    labels += [f"{forge.LABEL}.{name}" for name in (*names, "unique-files-entries-count", "unique-files-entries-size")]
    for label in labels:
        yield case(f"J6-{label}", "config.labels", "IntegrityError", config=put(f"labels|{label}", 1))
        if not label.endswith("rootfs.size"):
            yield case(f"J6-no-{label}", "config.labels", "IntegrityError", config=put(f"labels|{label}", ...))
    bomb = b"a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + b"".join(
        b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 9)
    )
    for name, text, error in (
        ("number", b"hostname: 5\n", "FormatError"),
        ("list", b"hostname: [1]\n", "FormatError"),
        ("no-hostname", b"swap: {filepath: /swap, size: 1}\n", "FormatError"),
        ("float-size", b"hostname: a\nswap: {filepath: /swap, size: 1.5}\n", "FormatError"),
        ("no-yaml", b"hostname: [\n", "YamlError"),
        ("bomb", b"hostname: a\n" + bomb, "YamlError"),
    ):
        yield case(f"J7-{name}", "sys-config", error, sys_config=constant(text))
    large = b"hostname: a\n" + b"#" * (2 << 20)
    yield case("J7-large", "sys-config", "LimitError", sys_config=constant(large))


def signatures() -> Iterator[Case]:
    yield case("S2-no-token", "signature index.signed-at", "TrustError", token=lambda _: b"")
    yield case("S2-garbage", "signature", "FormatError", token=lambda _: b"a.b.c")
    yield case("S1-newline", "signature", "FormatError", token=lambda token: token + b"\n")

    def other_index(files: list[tuple[str, bytes]]) -> None:
        files[0] = ("index.json", files[0][1] + b" ")

    yield case("S1-index-changed", "signature", "IntegrityError", files=other_index)
    yield case("S15-audience", "signature", "FormatError", claims=lambda claims: claims | {"aud": "x"})
    yield case("S15-future", "signature", "TrustError", claims=lambda claims: claims | {"iat": pki.NOW + 1})
