"""Where bytes are: files, folders, archives, databases and the cache, all with bounds.

Belongs here: every change of the file system (`fs`, `fs_at`), whole files, ZIP, zstd and SQLite,
the cache.
Does not: the meaning of what is stored (`format/`).
Start with `publishing` to write, `backend` for where an image is read from, `sink` for where one is
written to, `cache` for a work directory.
"""
