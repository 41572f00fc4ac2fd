"""YAML recipes become checked, frozen models; all problems are reported at once, with lines.

Belongs here: the keys of a recipe, their checks and messages, the JSON Schema.
Does not: acting on a recipe (`pipeline/`).
Start with `load.load_recipe` and `model.Recipe`.
"""
