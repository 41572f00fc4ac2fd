"""An image of any origin, opened and read; every byte is checked against its digest.

Belongs here: documents, tables, resources and contents of one image, and exporting single blobs and
tables.
Does not: judging the whole (`verification/`), writing trees (`deployment/`), building (`assembly/`,
which this package never imports, nor the reverse).
Start with `image.open_image`.
"""
