"""Writes the entries of a payload below a folder, by directory descriptors (section 11)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence

from otabuild.deployment.tree_plan import Demands
from otabuild.errors import MetaApplyError, StorageError
from otabuild.image.tables import FileEntry
from otabuild.storage import fs, fs_at

_PROBE = ".probe"
_LARGE = 1 << 18
"""Bytes of a file that the disk begins to write at once: most bytes are in few files, and the sync
at the end waits less."""

FillFile = Callable[[int, str], bool]
"""Writes a content to a descriptor, from its start; the path is for messages. Returns whether the
content is there."""


class TreeWriter:
    """Writes below one folder, from several threads.

    A file is written, then gets its owner, then its mode (changing the owner clears setuid), then
    its attributes (writing clears capabilities). Directories get their metadata last, so that
    nothing is inherited and everything can be created.

    Args:
        root: descriptor of the folder, which is empty and private.
        no_owner: let the calling user own everything.
    """

    def __init__(self, root: int, *, no_owner: bool) -> None:
        self._root = root
        self._no_owner = no_owner
        self._folders = fs_at.FoldersOfThreads(root)

    def rehearse(self, demands: Demands) -> None:
        """Try once everything that the operating system may refuse, and undo it.

        Raises:
            MetaApplyError: an owner, mode, device or attribute of the payload cannot be set here.
        """
        samples = {
            (stat.S_IFMT(e.mode), e.mode & 0o7000, e.packed_xattrs): e for e in demands.samples
        }
        for sample in samples.values():
            self._probe(sample._replace(path=f"/{_PROBE}", contents=b""), sample.path)
        if not self._no_owner:
            self._probe_owners(demands)

    def _probe(self, sample: FileEntry, path: str) -> None:
        try:
            if stat.S_ISDIR(sample.mode):
                self.make_directory(sample)
                self.finish_directory(sample)
            elif stat.S_ISREG(sample.mode):
                self.write_file([sample], lambda _fd, _path: True)
            else:
                self.make_non_regular([sample])
        except MetaApplyError as error:
            raise MetaApplyError(
                f"the target cannot store this payload: {error.what}",
                where=path,
                observed=error.observed,
                hint=error.hint,
            ) from None
        except StorageError as error:
            error.where = path
            raise
        finally:
            self._remove_probe(is_directory=stat.S_ISDIR(sample.mode))

    def _remove_probe(self, *, is_directory: bool) -> None:
        self.close()
        fs_at.remove(_PROBE, self._root, _PROBE, is_directory=is_directory)

    def _probe_owners(self, demands: Demands) -> None:
        fd = fs_at.create(_PROBE, self._root, 0o600, _PROBE)
        try:
            for uid, gid in sorted(demands.owners):
                fs_at.set_owner(fd, uid, gid, f"owner {uid}:{gid}")
        finally:
            os.close(fd)
            self._remove_probe(is_directory=False)

    def make_directory(self, entry: FileEntry) -> None:
        """Make a directory, for now owned by and open to the caller; `/` already exists."""
        if entry.path != "/":
            folder, name = self._folders.own.parent_of(entry.path)
            fs_at.make_folder(name, folder, entry.path, entry.mode)

    def finish_directory(self, entry: FileEntry) -> None:
        """Set owner, mode and attributes of a directory, after everything below it is finished."""
        self._finish(self._folders.own.at(entry.path), entry)

    def make_non_regular(self, paths: Sequence[FileEntry]) -> None:
        """Make a symlink or whiteout; further paths become hard links of the first."""
        entry = paths[0]
        folder, name = self._folders.own.parent_of(entry.path)
        if stat.S_ISLNK(entry.mode):
            fs_at.symlink(entry.meta or b"", name, folder, entry.path)
        else:
            fs_at.make_whiteout(name, folder, entry.path)
        if not self._no_owner:
            fs_at.set_owner_at(name, folder, entry.uid, entry.gid, entry.path)
        if not stat.S_ISLNK(entry.mode):
            fs_at.set_mode_at(name, folder, entry.mode, entry.path)
        if entry.packed_xattrs is not None:
            fs_at.set_xattrs_at(name, folder, entry.xattrs, entry.path)
        self._link(paths)

    def write_file(self, paths: Sequence[FileEntry], fill: FillFile) -> bool:
        """Make a regular file and fill it; further paths become hard links of the first.

        Returns:
            What `fill` returns: whether the content is there. If not, there is no file.
        """
        entry = paths[0]
        folder, name = self._folders.own.parent_of(entry.path)
        fd = fs_at.create(name, folder, entry.mode, entry.path)
        try:
            is_there = fill(fd, entry.path)
            if is_there:
                if entry.size >= _LARGE:
                    fs.start_writing_out(fd, 0, entry.size)
                self._finish(fd, entry)
        except BaseException:
            os.close(fd)
            raise
        fs_at.close(fd, entry.path)
        if is_there:
            self._link(paths)
        else:
            folder, name = self._folders.own.parent_of(entry.path)
            fs_at.remove(name, folder, entry.path, is_directory=False)
        return is_there

    def _finish(self, fd: int, entry: FileEntry) -> None:
        fs_at.settle(fd, None if self._no_owner else (entry.uid, entry.gid), entry.mode, entry.path)
        if entry.packed_xattrs is not None:
            fs_at.set_xattrs(fd, entry.xattrs, entry.path)

    def _link(self, paths: Sequence[FileEntry]) -> None:
        for entry in paths[1:]:
            folder, name = self._folders.own.parent_of(paths[0].path)
            # Looking up the second folder may close the first.
            with fs.closing_fd(os.dup(folder)) as own:
                new_folder, new_name = self._folders.own.parent_of(entry.path)
                fs_at.link(name, own, new_name, new_folder, entry.path)

    def close(self) -> None:
        """Close every descriptor except the root's."""
        self._folders.close()
