"""Where bytes live: every mutation of the file system goes through here."""
