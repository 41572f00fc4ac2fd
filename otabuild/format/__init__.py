"""The OTA image format, version 1: bytes become frozen models, and back.

Each document has a module.

"Section N", here and everywhere in the project, is that of docs/reference/format.md.

Belongs here: documents, tables, filters, tokens, their limits and constants. Pure: no paths, no
clock, no environment.
Does not: opening files or databases (`storage/`), deciding what to write (`assembly/`), judging
images (`verification/`).
Start with `digest` and `index`, in the order of the sections.
"""
