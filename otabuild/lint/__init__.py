"""What will cause trouble on a device although the image is valid.

Belongs here: rules about rows and documents from any source, and feeding them from an open image.
Does not: rules of the format (`verification/`); feeding the rules from a recipe
(`pipeline/lint_recipe`).
Start with `lint_image.lint_image`; the rules are in `lint`.
"""
