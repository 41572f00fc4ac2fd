"""Storage of bytes: every change of the file system goes through here."""
