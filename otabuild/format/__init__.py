"""The OTA image format, version 1. Turns bytes into frozen models and back; each document of it has a module.

"Section N", here and everywhere in the project, is that of docs/reference/format.md.
Nothing here opens a path, reads the clock or looks at the environment.
"""
