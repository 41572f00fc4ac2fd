"""Releases in a store: published once, listed, read back, withdrawn and pruned, and never broken.

Belongs here: what the files of a store mean, and the order in which they are written and removed.
Does not: how a kind of store is spoken to (`stores/`), or how an image is read (`image/`).
Start with `publish.publish`.
"""
