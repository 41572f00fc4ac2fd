"""Places for releases: a folder, a bucket or a web server, behind one interface.

Belongs here: how files are put, read, listed and removed in each kind of store, with retries,
deadlines and counts.
Does not: what the files mean, and in which order they are written (`releases/`).
Start with `open_store.open_store`.
"""
