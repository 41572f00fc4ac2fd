"""Every input of a rootfs becomes one stream of entries in path order; virtual changes act on that stream.

Belongs here: sources (directory, tar, container images), merging layers and overlays, transforms, the gate to the format.
Does not: storing contents (`assembly/`), the recipe's words for sources (`recipe/sources`).
Start with `scan.scan` and `entry.Entry`.
"""
