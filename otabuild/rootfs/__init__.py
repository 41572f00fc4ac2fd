"""Every input of a rootfs becomes a stream of entries in path order, then virtually changed.

Belongs here: sources (directory, tar, container images), merging layers and overlays, transforms,
the gate to the format.
Does not: storing contents (`assembly/`), the recipe's words for sources (`recipe/sources`).
Start with `scan.scan` and `entry.Entry`.
"""
