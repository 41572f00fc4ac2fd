"""YAML recipes become checked, frozen models; every problem of a file is reported at once, with its line.

Belongs here: the keys of a recipe, their checks and messages, the JSON Schema.
Does not: acting on a recipe (`pipeline/`).
Start with `load.load_recipe` and `model.Recipe`.
"""
