"""All steps of a recipe in execution order."""

from __future__ import annotations

from typing import Any

from otabuild.errors import RecipeError
from otabuild.pipeline.step import Step
from otabuild.pipeline.steps.artifact_step import ArtifactStep
from otabuild.pipeline.steps.deploy_step import DeployStep
from otabuild.pipeline.steps.index_step import IndexStep
from otabuild.pipeline.steps.preflight_step import PreflightStep
from otabuild.pipeline.steps.publish_step import PublishStep
from otabuild.pipeline.steps.roundtrip_step import RoundtripStep
from otabuild.pipeline.steps.scan_step import ScanStep
from otabuild.pipeline.steps.sign_step import SignStep
from otabuild.pipeline.steps.store_step import StoreStep
from otabuild.pipeline.steps.tables_step import TablesStep
from otabuild.pipeline.steps.verify_step import VerifyStep
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.model import Recipe
from otabuild.recipe.places import clashes


def build_steps(recipe: Recipe, workspace: Workspace) -> list[Step[Any, Any]]:
    """Return the steps from inputs to artifact; each comes after those that it needs.

    Raises:
        RecipeError: an output of the recipe collides with an input or the work directory.
    """
    if found := clashes(recipe, work=workspace.work):
        raise RecipeError(found)
    return [
        PreflightStep(recipe, workspace),
        *(ScanStep(recipe, workspace, name) for name in recipe.rootfs),
        StoreStep(recipe, workspace),
        TablesStep(recipe, workspace),
        IndexStep(recipe, workspace),
        *([SignStep(recipe, workspace)] if recipe.sign else []),
        ArtifactStep(recipe, workspace),
    ]


def check_steps(recipe: Recipe, workspace: Workspace) -> list[Step[Any, Any]]:
    """Return the steps after the artifact, which only run on request."""
    publish = [PublishStep(recipe, workspace)] if recipe.publish else []
    return [
        *(step(recipe, workspace) for step in (VerifyStep, DeployStep, RoundtripStep)),
        *publish,
    ]
