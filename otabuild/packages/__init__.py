"""What is installed in the rootfs of a payload, by the databases of its package managers.

Belongs here: one reader for each kind of package, all of them pure, from files of a payload to
packages; which files belong to a package; how versions are ordered.
Does not: comparing two images (`comparison/`), documents made of the packages (`sbom/`), judging a
package.
Start with `survey.read_inventory`; a database is hostile input, and whatever is wrong with it
becomes a note.
"""
