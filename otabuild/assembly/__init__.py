"""Entries become contents, blobs, tables, documents, and at last an image.

Belongs here: the storage plan, chunking and compressing, writing tables and documents, laying out
the image.
Does not: reading inputs (`rootfs/`), signing (`signing/`), reading images (`image/`, which this
package never imports).
Start with `store.store_contents` and `assemble`.
"""
