"""The OTA image format, version 1. Turns bytes into frozen models and back; each page of the spec has a module.

Nothing here opens a path, reads the clock or looks at the environment.
"""
