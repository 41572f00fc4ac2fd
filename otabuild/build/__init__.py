"""Turns entries into tables, blobs, index, signature and artifact."""
