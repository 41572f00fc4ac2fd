"""Images for tests of stores: small, valid, signed, and different from each other where it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.image.forge import PILOT, forge


def image(path: Path, version: str = "1.0", *, hostname: str = "main", signed: bool = True) -> Path:
    """Write an artifact; another version shares all blobs but those that name it, another host name a few less."""

    def about(index: dict[str, Any]) -> None:
        index["annotations"][f"{PILOT.removesuffix('.platform')}.project.version"] = version
        if not signed:
            del index["annotations"]["vnd.tier4.ota.image.signed-at"]

    mutations: dict[str, Any] = {"index": about, "sys_config": lambda _raw: f"hostname: {hostname}\n".encode()}
    if not signed:
        mutations["token"] = lambda _token: b""
    return forge(**mutations).artifact(path)
