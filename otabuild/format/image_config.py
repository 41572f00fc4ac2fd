"""The image config (section 4)."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, StrictInt, StrictStr, model_validator

from otabuild.format import annotations as ann
from otabuild.format.digest import Descriptor
from otabuild.format.document import Document
from otabuild.format.media_types import FILE_TABLES, IMAGE_CONFIG, SYS_CONFIGS

_BSP_LINE = re.compile(r"# R(?P<release>\d+) \(release\), REVISION: (?P<revision>[0-9.]+),")


class ImageConfig(Document):
    """The parts of a payload: its file table, its sys_config, and labels with counts."""

    schema_version: StrictInt = Field(default=1, alias="schemaVersion", ge=1, le=1)
    media_type: Literal["application/vnd.tier4.ota.file-based-ota-image.config.v1+json"] = Field(
        default=IMAGE_CONFIG, alias="mediaType"
    )
    resource_digest_alg: Literal["sha256"] = "sha256"
    description: StrictStr | None = None
    created: StrictStr | None = None
    architecture: StrictStr
    os: StrictStr | None = None
    os_version: StrictStr | None = Field(default=None, alias="os.version")
    sys_config: Descriptor | None = None
    file_table: Descriptor
    labels: ann.Annotations

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.file_table.check_media_type("file_table", *FILE_TABLES)
        if self.sys_config is not None:
            self.sys_config.check_media_type("sys_config", *SYS_CONFIGS)
        ann.check_counts(self.labels, ann.LABEL_COUNTS)
        if ann.BASE_IMAGE not in self.labels:
            raise ValueError(f"label {ann.BASE_IMAGE} is missing")
        return self


def jetson_bsp_version(nv_tegra_release: bytes) -> str | None:
    """Return the BSP version, such as `R35.4.1`, of an /etc/nv_tegra_release; None without one."""
    first = nv_tegra_release.partition(b"\n")[0].decode("utf-8", "replace")
    found = _BSP_LINE.match(first)
    return f"R{found['release']}.{found['revision']}" if found else None
