"""YAML recipes to validated models."""

from otabuild.recipe.context import Context
from otabuild.recipe.inputs import missing_inputs
from otabuild.recipe.load import load_recipe, load_recipes
from otabuild.recipe.model import Recipe

__all__ = ["Context", "Recipe", "load_recipe", "load_recipes", "missing_inputs"]
