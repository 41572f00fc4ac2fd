"""Where bytes are: files, folders, archives, databases and the cache, with bounds on all that is read.

Belongs here: every change of the file system (`fs`, `fs_at`), whole files, ZIP, zstd and SQLite, the cache.
Does not: the meaning of what is stored (`format/`).
Start with `files` to write, `backend` to read an image, `cache` for a work directory.
"""
