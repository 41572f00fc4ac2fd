"""otabuild: signed, reproducible over-the-air system images from YAML recipes.

    recipe = otabuild.load_recipe("recipes/vehicle.yaml")
    result = otabuild.build(recipe)
    with otabuild.open_image(result.artifact) as image:
        report = otabuild.verify(image, trust, now=now)

Names are loaded when they are first used: `import otabuild` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from otabuild.version import __version__

if TYPE_CHECKING:
    from otabuild.api import BuildResult, build
    from otabuild.errors import OtabuildError
    from otabuild.image.image import Image, open_image
    from otabuild.pipeline.own_steps import after_build, before_scan
    from otabuild.recipe.load import load_recipe

__all__ = [
    "BuildResult",
    "Image",
    "OtabuildError",
    "__version__",
    "after_build",
    "before_scan",
    "build",
    "load_recipe",
    "open_image",
]

_HOMES = {
    "BuildResult": "otabuild.api",
    "Image": "otabuild.image.image",
    "OtabuildError": "otabuild.errors",
    "after_build": "otabuild.pipeline.own_steps",
    "before_scan": "otabuild.pipeline.own_steps",
    "build": "otabuild.api",
    "load_recipe": "otabuild.recipe.load",
    "open_image": "otabuild.image.image",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'otabuild' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
