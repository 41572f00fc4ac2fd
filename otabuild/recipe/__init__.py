"""YAML recipes to validated models."""

from otabuild.recipe.context import Context
from otabuild.recipe.inputs import missing_inputs
from otabuild.recipe.load import load_recipe, load_recipes
from otabuild.recipe.model import Recipe
from otabuild.recipe.schema import json_schema
from otabuild.recipe.starter import starter_recipe

__all__ = ["Context", "Recipe", "json_schema", "load_recipe", "load_recipes", "missing_inputs", "starter_recipe"]
