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
from typing import TYPE_CHECKING

from otabuild.version import __version__

if TYPE_CHECKING:
    from otabuild.api import BuildResult, build, publish
    from otabuild.comparison.cost import Cost, cost
    from otabuild.comparison.diff import Diff, diff
    from otabuild.deployment.deploy import deploy
    from otabuild.deployment.deploy_checks import Deployed
    from otabuild.deployment.deploy_tar import deploy_tar
    from otabuild.deployment.old_trees import OldTrees
    from otabuild.errors import OtabuildError
    from otabuild.image.image import Image, open_image
    from otabuild.pipeline.own_steps import after_build, before_scan
    from otabuild.recipe.load import load_recipe
    from otabuild.releases.pull import pull
    from otabuild.releases.stick import write_stick
    from otabuild.signing.trust import TrustPolicy, load_anchors
    from otabuild.verification.verify import Report, verify

_HOMES = {
    "BuildResult": "otabuild.api",
    "Cost": "otabuild.comparison.cost",
    "Deployed": "otabuild.deployment.deploy_checks",
    "Diff": "otabuild.comparison.diff",
    "Image": "otabuild.image.image",
    "OldTrees": "otabuild.deployment.old_trees",
    "OtabuildError": "otabuild.errors",
    "Report": "otabuild.verification.verify",
    "TrustPolicy": "otabuild.signing.trust",
    "after_build": "otabuild.pipeline.own_steps",
    "before_scan": "otabuild.pipeline.own_steps",
    "build": "otabuild.api",
    "cost": "otabuild.comparison.cost",
    "deploy": "otabuild.deployment.deploy",
    "deploy_tar": "otabuild.deployment.deploy_tar",
    "diff": "otabuild.comparison.diff",
    "load_anchors": "otabuild.signing.trust",
    "load_recipe": "otabuild.recipe.load",
    "open_image": "otabuild.image.image",
    "publish": "otabuild.api",
    "pull": "otabuild.releases.pull",
    "verify": "otabuild.verification.verify",
    "write_stick": "otabuild.releases.stick",
}

__all__ = [
    "BuildResult",
    "Cost",
    "Deployed",
    "Diff",
    "Image",
    "OldTrees",
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
    "publish",
    "pull",
    "verify",
    "write_stick",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'otabuild' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
