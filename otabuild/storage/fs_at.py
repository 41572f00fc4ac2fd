"""Changes below a directory descriptor: nothing follows a symlink, only `rename` replaces.

As in `otabuild.storage.fs`, each change is announced to the observer. Failures to set owner, mode,
attributes or devices raise MetaApplyError, all others StorageError. `path` is only used in
messages.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress

from otabuild.errors import MetaApplyError, StateError
from otabuild.format.file_table import ACL, DEFAULT_ACL
from otabuild.storage.fs import change, closing_fd, storage_error

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FOLDERS = 256
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2
_ACLS = (ACL, DEFAULT_ACL)

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def _metadata(operation: str, path: str) -> Iterator[None]:
    with change(operation, path):
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE):
                raise
            raise MetaApplyError(
                f"cannot {operation}",
                where=path,
                observed=error.strerror,
                hint="deploy as root, to a file system that supports it; or write a tar with "
                "--to-tar; or leave owners out with --no-owner",
            ) from error


def create(name: str, folder: int, mode: int, path: str) -> int:
    """Create a file that does not exist yet, to write and read back; the caller closes it.

    It gets the plain permission bits of `mode`, reduced by the umask; `settle` does the rest.
    """
    with change("create", path):
        return os.open(name, _NEW, mode & 0o777, dir_fd=folder)


def close(fd: int, path: str) -> None:
    """Close a descriptor after writing; some file systems report a failed write only now."""
    with change("close", path):
        os.close(fd)


def make_folder(name: str, folder: int, path: str, mode: int = 0) -> None:
    """Make a directory with mode 0700 and the other bits of `mode` that the umask leaves."""
    with change("mkdir", path):
        os.mkdir(name, mode & 0o777 | 0o700, dir_fd=folder)


def symlink(target: bytes, name: str, folder: int, path: str) -> None:
    """Make a symlink."""
    with change("symlink", path):
        os.symlink(target, os.fsencode(name), dir_fd=folder)


def make_whiteout(name: str, folder: int, path: str) -> None:
    """Make a character device 0,0."""
    with _metadata("make a device", path):
        os.mknod(name, stat.S_IFCHR | 0o600, os.makedev(0, 0), dir_fd=folder)


def link(name: str, folder: int, new_name: str, new_folder: int, path: str) -> None:
    """Make a hard link; to a symlink itself, not to its target."""
    with _metadata("make a hard link", path):
        os.link(name, new_name, src_dir_fd=folder, dst_dir_fd=new_folder, follow_symlinks=False)


def settle(fd: int, owner: tuple[int, int] | None, mode: int, path: str) -> None:
    """Set owner (None: keep) and permission bits of an open file or directory if they differ.

    The owner is set first, because changing it clears setuid and setgid.
    """
    status = os.fstat(fd)
    is_owned = owner is None or owner == (status.st_uid, status.st_gid)
    if owner is not None and not is_owned:
        set_owner(fd, *owner, path)
    if not is_owned or stat.S_IMODE(status.st_mode) != stat.S_IMODE(mode):
        set_mode(fd, mode, path)


def set_owner(fd: int, uid: int, gid: int, path: str) -> None:
    """Set the owner of an open file or directory."""
    with _metadata("set the owner", path):
        os.fchown(fd, uid, gid)


def set_owner_at(name: str, folder: int, uid: int, gid: int, path: str) -> None:
    """Set the owner of the entry with this name."""
    with _metadata("set the owner", path):
        os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)


def set_mode(fd: int, mode: int, path: str) -> None:
    """Set the exact permission bits; call this after setting the owner, which clears some.

    Raises:
        MetaApplyError: the operating system refused, or silently dropped a bit.
    """
    with _metadata("set the mode", path):
        os.fchmod(fd, stat.S_IMODE(mode))
    if mode & (stat.S_ISUID | stat.S_ISGID):
        _check_mode(os.fstat(fd).st_mode, mode, path)


def set_mode_at(name: str, folder: int, mode: int, path: str) -> None:
    """Set the exact permission bits of a device."""
    with closing_fd(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)) as fd:
        with _metadata("set the mode", path):
            # fchmod does not accept an O_PATH descriptor, and no variant of chmod refuses to follow
            # links.
            os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(mode))
        _check_mode(os.fstat(fd).st_mode, mode, path)


def _check_mode(observed: int, mode: int, path: str) -> None:
    if stat.S_IMODE(observed) != stat.S_IMODE(mode):
        raise MetaApplyError(
            "the operating system did not keep the mode",
            where=path,
            observed=oct(stat.S_IMODE(observed)),
            expected=oct(stat.S_IMODE(mode)),
        )


def set_xattrs(fd: int, xattrs: Mapping[str, bytes], path: str) -> None:
    """Set extended attributes of an open file or directory.

    Call this last, because a write or chown drops some.

    Raises:
        MetaApplyError: the operating system refused, or an access control list and the mode do not
            go together.
    """
    mode = os.fstat(fd).st_mode
    for name, value in xattrs.items():
        _set_xattr(fd, name, value, path)
    # This sets the mode, too, and a list that says no more than a mode is not kept.
    if ACL in xattrs:
        _check_mode(os.fstat(fd).st_mode, mode, path)
        if ACL not in os.listxattr(fd):
            raise MetaApplyError(
                "the operating system did not keep the access control list", where=path
            )


def set_xattrs_at(name: str, folder: int, xattrs: Mapping[str, bytes], path: str) -> None:
    """Set extended attributes of the entry with this name."""
    for attribute, value in xattrs.items():
        _set_xattr(f"/proc/self/fd/{folder}/{name}", attribute, value, path)


def _set_xattr(target: int | str, attribute: str, value: bytes, path: str) -> None:
    with _metadata(f"set the attribute {attribute}", path):
        try:
            os.setxattr(target, attribute, value, follow_symlinks=isinstance(target, int))
        except OSError as error:
            # ext4 says "no space" of an attribute that does not fit in one block, however much
            # space there is.
            is_full = error.errno == errno.ENOSPC and not _has_room(target, len(value))
            if is_full or error.errno not in (errno.ENOSPC, errno.E2BIG, errno.ERANGE):
                raise
            raise MetaApplyError(
                f"the file system cannot hold an attribute as large as {attribute}",
                where=path,
                observed=f"{len(value)} bytes",
                hint="deploy to a file system for large attributes, such as XFS, or ext4 with the "
                "feature ea_inode; "
                "or drop the attribute in the recipe (`xattrs: {drop: [...]}`) and build again",
            ) from error


def _has_room(target: int | str, size: int) -> bool:
    room = os.statvfs(target if isinstance(target, int) else os.path.dirname(target))
    return room.f_bavail * room.f_frsize > size + room.f_frsize


def drop_acls(fd: int, path: str) -> None:
    """Drop the access control lists that a directory inherited, so that nothing below does."""
    for name in _ACLS:
        with _metadata("drop the inherited access control list", path):
            try:
                os.removexattr(fd, name)
            except OSError as error:
                if error.errno not in (errno.ENODATA, errno.ENOTSUP):
                    raise


def rename_new(name: str, new_name: str, folder: int, path: str) -> None:
    """Rename within a folder, if the new name is free.

    Raises:
        StateError: the new name exists.
    """
    with change("rename", path):
        unable = (errno.EINVAL, errno.ENOSYS)
        try:
            if _renameat2(name, new_name, folder, _RENAME_NOREPLACE, unable):
                return
        except FileExistsError:
            raise StateError("something was put there meanwhile", where=path) from None
        # A file system without RENAME_NOREPLACE; at worst this replaces an empty directory made
        # meanwhile.
        os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=folder)


def rename(name: str, new_name: str, folder: int, path: str) -> None:
    """Rename within a folder.

    This atomically replaces a file or an empty directory that has the new name.
    """
    with change("rename", path):
        os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=folder)


def move_folder(name: str, new_name: str, folder: int, path: str) -> bool:
    """Rename a directory; return False for one in a lower layer of overlayfs, which stays."""
    with change("rename", path):
        try:
            os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return False
    return True


def exchange(name: str, other: str, folder: int, path: str) -> bool:
    """Atomically exchange two names in a folder; return False if the file system cannot.

    FUSE and old kernels answer EINVAL or ENOSYS, overlayfs EXDEV if one is a directory of a lower
    layer.
    """
    with change("exchange", path):
        unable = (errno.EINVAL, errno.ENOSYS, errno.EXDEV)
        return _renameat2(name, other, folder, _RENAME_EXCHANGE, unable)


def _renameat2(name: str, other: str, folder: int, how: int, unable: Container[int]) -> bool:
    """Rename as `os.rename` does not; return False for one of the errors of who is unable to."""
    if _libc.renameat2(folder, os.fsencode(name), folder, os.fsencode(other), how) == 0:
        return True
    number = ctypes.get_errno()
    if number not in unable:
        raise OSError(number, os.strerror(number))
    return False


def remove(name: str, folder: int, path: str, *, is_directory: bool) -> None:
    """Remove a file or an empty directory, if it exists."""
    with change("remove", path), suppress(FileNotFoundError):
        if is_directory:
            os.rmdir(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)


def remove_tree(name: str, folder: int, path: str) -> None:
    """Remove a directory made by otabuild and everything below it, whatever its modes."""
    # By descriptors, so that a folder that somebody swaps for a link leads nowhere; not recursive,
    # because a tree may be deeper than Python's stack. A folder with folders stays on `todo` below
    # them, and is opened again when they are gone; its descriptor is needed until then, and closed
    # as soon as nothing on `todo` lies in it.
    todo: list[tuple[str, int, str]] = [(name, folder, path)]
    opened: list[int] = []
    try:
        while todo:
            last, parent, where = todo[-1]
            with change("remove", where):
                fd = _open_own(last, parent)
                opened.append(fd)
                with os.scandir(fd) as entries:
                    folders = [entry.name for entry in entries if not _unlinked(entry, fd)]
                if folders:
                    todo += [(child, fd, f"{where}/{child}") for child in folders]
                    continue
                os.close(opened.pop())
                os.rmdir(last, dir_fd=parent)
            todo.pop()
            while opened and (not todo or todo[-1][1] != opened[-1]):
                os.close(opened.pop())
    finally:
        for fd in opened:
            os.close(fd)


def _open_own(name: str, folder: int) -> int:
    """Open a directory whatever its mode, but never through a symlink that replaced it."""
    with suppress(PermissionError):
        fd = os.open(name, DIRECTORY, dir_fd=folder)
        if os.fstat(fd).st_mode & 0o700 != 0o700:
            os.fchmod(fd, 0o700)
        return fd
    with closing_fd(os.open(name, DIRECTORY | os.O_PATH, dir_fd=folder)) as handle:
        os.chmod(f"/proc/self/fd/{handle}", 0o700)
        return os.open(".", DIRECTORY, dir_fd=handle)


def _unlinked(entry: os.DirEntry[str], folder: int) -> bool:
    if entry.is_dir(follow_symlinks=False):
        return False
    os.unlink(entry.name, dir_fd=folder)
    return True


class Folders:
    """Descriptors of folders below a root, opened by name, never by a link. Not thread-safe.

    Paths are paths of a payload: absolute from the root and normalised.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._open: OrderedDict[str, int] = OrderedDict()

    def at(self, path: str) -> int:
        """Return a descriptor of the folder, valid until the next call.

        Raises:
            StorageError: it does not exist, or is not a directory.
        """
        missing: list[str] = []
        while path != "/" and path not in self._open:
            path, _, name = path.rpartition("/")
            path = path or "/"
            missing.append(name)
        fd = self._root if path == "/" else self._open[path]
        if path != "/":
            self._open.move_to_end(path)
        # From the nearest open folder down, one name at a time: no link is followed.
        for name in reversed(missing):
            path = f"{path.rstrip('/')}/{name}"
            try:
                fd = self._open[path] = os.open(name, DIRECTORY, dir_fd=fd)
            except OSError as error:
                raise storage_error(error, "open the folder", path) from error
            if len(self._open) > _OPEN_FOLDERS:
                os.close(self._open.popitem(last=False)[1])
        return fd

    def parent_of(self, path: str) -> tuple[int, str]:
        """Return a descriptor of the folder that contains a path, and the name in it."""
        folder, _, name = path.rpartition("/")
        return self.at(folder or "/"), name

    def close(self) -> None:
        """Close every descriptor."""
        while self._open:
            os.close(self._open.popitem()[1])


class FoldersOfThreads:
    """`Folders` below one root for each thread that asks."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._local = threading.local()
        self._all: list[Folders] = []

    @property
    def own(self) -> Folders:
        """Those of this thread."""
        found: Folders | None = getattr(self._local, "folders", None)
        if found is None:
            found = self._local.folders = Folders(self._root)
            self._all.append(found)
        return found

    def close(self) -> None:
        """Close every descriptor except the root's."""
        for folders in self._all:
            folders.close()
