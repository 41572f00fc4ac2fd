"""Payloads of an image as a directory tree or a tar (section 11).

Belongs here: planning the tree, writing it, and the checks that must pass before the first write.
Does not: opening images (`image/`), rules about them (`verification/`), changes of the file system
(`storage/fs_at`).
Start with `deploy.deploy` (a directory) and `deploy_tar.deploy_tar` (a tar).
"""
