"""Turns recipes into ordered steps. Each step knows what it depends on, and whether its output is still valid.

The stamp of a step decides whether it runs: a small file that is written last and removed first. The memory of a task
runner is not needed, so a killed run, a lost database or a different runner changes nothing.
"""
