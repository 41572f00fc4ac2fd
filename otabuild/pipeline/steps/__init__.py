"""The steps of a recipe, from preflight to roundtrip.

Belongs here: for each step what it depends on, what it writes, and the call into the lower layers.
Does not: deciding whether a step runs, stamps, retries (`pipeline/`); any work itself.
Start with `graph.build_steps`.
"""
