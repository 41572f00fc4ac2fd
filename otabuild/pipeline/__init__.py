"""Runs the steps of recipes, each of which knows what it depends on, and if its output is valid.

The stamp of a step decides whether it runs: a small file that is written last and removed first.
The memory of a task runner is not needed, so a killed run, a lost database or a different runner
changes nothing.

Belongs here: steps as such, their stamps, the work directory, retries, signing again, the report of
a build.
Does not: what single steps do (`pipeline/steps/`), printing, the clock, doit (the shell).
Start with `step.Step` and `run.run_steps`.
"""
