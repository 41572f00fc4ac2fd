"""The OTA image format, version 1: bytes to frozen models and back, one module for each page of the specification.

Nothing here opens a path, reads a clock or looks at the environment.
"""
