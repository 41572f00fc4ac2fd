"""Recipes to ordered steps: each knows what it depends on, and whether what it made is still good.

A step is decided by its stamp, a small file that is written last and removed first. No task runner's memory is
needed, so a killed run, a lost database or another runner changes nothing.
"""
