"""The annotations and labels of the format, and their short keys in recipes (sections 2, 3, 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator

PLATFORM = "vnd.tier4.pilot-auto.platform"
ECU = f"{PLATFORM}.ecu"
ARCHITECTURE = f"{ECU}.architecture"
HARDWARE_MODEL = f"{ECU}.hardware-model"
HARDWARE_SERIES = f"{ECU}.hardware-series"
RELEASE_KEY = "vnd.tier4.ota.release-key"
BSP_VERSION = "vnd.nvidia.jetson.bsp_ver"

BUILDER_VERSION = "vnd.tier4.ota.ota-image-builder.version"
CREATED_AT = "vnd.tier4.ota.image.created-at"
SIGNED_AT = "vnd.tier4.ota.image.signed-at"
BLOBS_COUNT = "vnd.tier4.ota.image.blobs-count"
BLOBS_SIZE = "vnd.tier4.ota.image.blobs-size"

_PROJECT = "vnd.tier4.pilot-auto.project"
PROJECT_VERSION = f"{_PROJECT}.version"
_WEB = "vnd.tier4.web-auto"

INDEX_SHORT_KEYS: Mapping[str, str] = {
    "platform": PLATFORM,
    "project.name": _PROJECT,
    "project.source-repo": f"{_PROJECT}.source-repo",
    "project.version": PROJECT_VERSION,
    "project.release-commit": f"{_PROJECT}.release-commit",
    "project.release-branch": f"{_PROJECT}.release-branch",
    "web-auto.project": f"{_WEB}.project",
    "web-auto.project-id": f"{_WEB}.project-id",
    "web-auto.catalog": f"{_WEB}.catalog",
    "web-auto.catalog-id": f"{_WEB}.catalog-id",
    "web-auto.env": f"{_WEB}.env",
    "web-auto.cicd.release-id": f"{_WEB}.cicd.release-id",
    "web-auto.cicd.release-name": f"{_WEB}.cicd.release-name",
}
"""Maps the short keys of a recipe's `annotations` to the annotations of index.json that they
set."""

INDEX_STRINGS = frozenset({BUILDER_VERSION, *INDEX_SHORT_KEYS.values()})
INDEX_COUNTS = frozenset({CREATED_AT, SIGNED_AT, BLOBS_COUNT, BLOBS_SIZE})
PAYLOAD_STRINGS = frozenset(
    {ECU, RELEASE_KEY, ARCHITECTURE, PLATFORM, HARDWARE_MODEL, HARDWARE_SERIES, BSP_VERSION}
)

BASE_IMAGE = "vnd.tier4.image.base-image"
OS_NAME = "vnd.tier4.image.os"
OS_VERSION = "vnd.tier4.image.os.version"
_ROOTFS = "vnd.tier4.image.rootfs"
ROOTFS_SIZE = f"{_ROOTFS}.size"
REGULAR_COUNT = f"{_ROOTFS}.regular-files-count"
NON_REGULAR_COUNT = f"{_ROOTFS}.non-regular-files-count"
DIRS_COUNT = f"{_ROOTFS}.dirs-count"
UNIQUE_COUNT = f"{_ROOTFS}.unique-files-entries-count"
UNIQUE_SIZE = f"{_ROOTFS}.unique-files-entries-size"

LABEL_STRINGS = frozenset({BASE_IMAGE, OS_NAME, OS_VERSION, BSP_VERSION})
LABEL_COUNTS = frozenset(
    {
        BLOBS_COUNT,
        BLOBS_SIZE,
        ROOTFS_SIZE,
        REGULAR_COUNT,
        NON_REGULAR_COUNT,
        DIRS_COUNT,
        UNIQUE_COUNT,
        UNIQUE_SIZE,
    }
)

_STRINGS = INDEX_STRINGS | PAYLOAD_STRINGS | LABEL_STRINGS
KNOWN = _STRINGS | INDEX_COUNTS | LABEL_COUNTS


def _check_strings(annotations: dict[str, Any]) -> dict[str, Any]:
    wrong = [
        f"{key} is {value!r:.80}, not a string"
        for key, value in annotations.items()
        if key in _STRINGS and not isinstance(value, str)
    ]
    if wrong:
        raise ValueError("; ".join(wrong))
    return annotations


Annotations = Annotated[dict[str, Any], AfterValidator(_check_strings)]
"""Annotations or labels. A known string must be a string: clients refuse the whole document if it
is a number."""


def check_counts(annotations: Mapping[str, object], counts: frozenset[str]) -> None:
    """Check known numbers against their type.

    Raises:
        ValueError: an annotation has the wrong type; the message names every such annotation.
    """
    wrong = [
        f"{key} is {value!r:.80}, not a whole number from 0"
        for key, value in annotations.items()
        # Not isinstance: True is an int to Python.
        if key in counts and not (type(value) is int and value >= 0)
    ]
    if wrong:
        raise ValueError("; ".join(wrong))
