"""What differs between two images, and what a device has to fetch for it.

Belongs here: comparing tables and documents of two open images, the cost of an update.
Does not: reading package databases (`packages/`), writing files, judging whether an image is valid,
HTML (`report/`).
Start with `diff.diff` and `cost.cost`; `diff_text` turns a difference into lines.
"""
