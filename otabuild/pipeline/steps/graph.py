"""All steps of a recipe in execution order."""

from __future__ import annotations

from otabuild.errors import RecipeError
from otabuild.pipeline.job import Job
from otabuild.pipeline.step import Step
from otabuild.pipeline.steps.check_steps import deploy_step, roundtrip_step, verify_step
from otabuild.pipeline.steps.content_steps import scan_step, store_step, tables_step
from otabuild.pipeline.steps.image_steps import build_step, index_step
from otabuild.pipeline.steps.sign_steps import preflight_step, sign_step
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.model import Recipe
from otabuild.recipe.places import clashes


def build_steps(recipe: Recipe, workspace: Workspace) -> list[Step]:
    """Return the steps from inputs to artifact; each comes after those that it needs.

    Raises:
        RecipeError: an output of the recipe collides with an input or the work directory.
    """
    if found := clashes(recipe, work=workspace.work):
        raise RecipeError(found)
    job = Job(recipe, workspace)
    steps = [preflight_step(job), *(scan_step(job, name) for name in recipe.rootfs)]
    steps += [store_step(job), tables_step(job), index_step(job)]
    if recipe.sign:
        steps.append(sign_step(job, recipe.sign))
    return [*steps, build_step(job)]


def check_steps(recipe: Recipe, workspace: Workspace) -> list[Step]:
    """Return the steps after the artifact, which only run on request."""
    job = Job(recipe, workspace)
    return [verify_step(job), deploy_step(job), roundtrip_step(job)]
