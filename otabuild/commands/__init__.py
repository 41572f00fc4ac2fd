"""The commands of `otabuild`, one module per group; they import what they need when they run.

Belongs here: arguments, and turning results into lines or JSON.
Does not: work that a Python caller would need, too.
Start with `output` and any one of the others; `cli` joins them.
"""
