"""The reading verbs, on any image."""
