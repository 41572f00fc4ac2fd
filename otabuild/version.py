"""The version of otabuild."""

__version__ = "0.1.0"
