"""The JSON Schema of what each command prints with `--json`."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from otabuild.outputs import build_outputs as build
from otabuild.outputs import image_outputs as image
from otabuild.outputs import release_outputs as release
from otabuild.outputs.shape import FailureOutput

COMMANDS: dict[str, Any] = dict(
    sorted((build.COMMANDS | image.COMMANDS | release.COMMANDS).items())
)
"""What each command prints; if it fails, it prints `FailureOutput`."""


def output_schema(command: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what a command prints, such as `cache show`."""
    schema = TypeAdapter(COMMANDS[command] | FailureOutput).json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"otabuild {command} --json",
        **schema,
    }
