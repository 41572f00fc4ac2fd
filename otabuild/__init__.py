"""otabuild: signed, reproducible over-the-air system images from YAML recipes.

    recipe = otabuild.load_recipe("recipes/vehicle.yaml")
    result = otabuild.build(recipe)
    with otabuild.open_image(result.artifact) as image:
        policy = otabuild.TrustPolicy(otabuild.load_anchors(["certs/root-ca.pem"]))
        report = otabuild.verify(image, policy, now=int(time.time()))

Names are loaded on first use, so `import otabuild` is cheap.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from otabuild.version import __version__

if TYPE_CHECKING:
    from otabuild.api import BuildResult, build
    from otabuild.errors import OtabuildError
    from otabuild.image.cost import Cost, cost
    from otabuild.image.deploy import deploy
    from otabuild.image.deploy_checks import Deployed
    from otabuild.image.deploy_tar import deploy_tar
    from otabuild.image.diff import Diff, diff
    from otabuild.image.image import Image, open_image
    from otabuild.image.verify import Report, verify
    from otabuild.pipeline.own_steps import after_build, before_scan
    from otabuild.recipe.load import load_recipe
    from otabuild.signing.trust import TrustPolicy, load_anchors

_HOMES = {
    "BuildResult": "otabuild.api",
    "Cost": "otabuild.image.cost",
    "Deployed": "otabuild.image.deploy_checks",
    "Diff": "otabuild.image.diff",
    "Image": "otabuild.image.image",
    "OtabuildError": "otabuild.errors",
    "Report": "otabuild.image.verify",
    "TrustPolicy": "otabuild.signing.trust",
    "after_build": "otabuild.pipeline.own_steps",
    "before_scan": "otabuild.pipeline.own_steps",
    "build": "otabuild.api",
    "cost": "otabuild.image.cost",
    "deploy": "otabuild.image.deploy",
    "deploy_tar": "otabuild.image.deploy_tar",
    "diff": "otabuild.image.diff",
    "load_anchors": "otabuild.signing.trust",
    "load_recipe": "otabuild.recipe.load",
    "open_image": "otabuild.image.image",
    "verify": "otabuild.image.verify",
}

__all__ = [
    "BuildResult",
    "Cost",
    "Deployed",
    "Diff",
    "Image",
    "OtabuildError",
    "Report",
    "TrustPolicy",
    "__version__",
    "after_build",
    "before_scan",
    "build",
    "cost",
    "deploy",
    "deploy_tar",
    "diff",
    "load_anchors",
    "load_recipe",
    "open_image",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'otabuild' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


class _Package(ModuleType):
    """Keeps `otabuild.build` the function when the package of that name is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name == "build" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
