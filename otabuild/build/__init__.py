"""Entries to tables, blobs, index, signature and artifact."""
