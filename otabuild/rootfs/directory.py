"""A directory tree as a source, walked by descriptors: follows no link, skips nothing silently."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter, itemgetter
from typing import NamedTuple, TypeVar

import msgpack

from otabuild.errors import InputChangedError, InputError, InputUnreadableError, OtabuildError
from otabuild.format import limits
from otabuild.rootfs.content import stat_key
from otabuild.rootfs.entry import NO_XATTRS, Content, Entry
from otabuild.rootfs.mounts import mounts_below
from otabuild.storage import fs

T = TypeVar("T")
_Child = tuple[str, os.stat_result]
"""A name in a directory, and its lstat result."""
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_stat_fields: Callable[[os.stat_result], tuple[int, ...]] = attrgetter(
    "st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ctime_ns", "st_ino", "st_dev"
)  # one call in C: it runs for every entry, also when nothing changed


_pack: Callable[[object], bytes] = msgpack.Packer(unicode_errors="surrogateescape").pack


def _packed(facts: object) -> bytes:
    """Return facts as bytes; times before 1678 or after 2554 do not fit MessagePack's integers."""
    try:
        return _pack(facts)
    except OverflowError:
        return repr(facts).encode("utf-8", "surrogateescape")


def _nothing(_path: str) -> bool:
    return False


class _Folder(NamedTuple):
    """A directory that is still to be read: its path in the rootfs and its lstat result."""

    path: str
    status: os.stat_result


class DirectorySource:
    """The tree below a host directory.

    Args:
        root: the host directory; may itself be a symlink.
        one_file_system: whether a mount inside the tree is an error; otherwise it is walked.
        prune: whether everything below a directory (path in the rootfs) will be dropped; then it is
            not read.
        drop: whether a path and everything below it will be dropped; then it may contain a mount.
        denied: collects (host directory, path in the rootfs) of what permissions do not allow to
            read, instead of an error. A directory that cannot be listed then counts as empty.
    """

    def __init__(
        self,
        root: str,
        *,
        one_file_system: bool,
        prune: Callable[[str], bool],
        drop: Callable[[str], bool] = _nothing,
        denied: set[tuple[str, str]] | None = None,
    ) -> None:
        self._root = os.path.abspath(root)
        self._prefix = "" if self._root == "/" else self._root
        self._one_file_system = one_file_system
        self._prune = prune
        self._drop = drop
        self._denied = denied

    def fingerprint(self) -> str:
        """Return one digest of all entries' lstat; ctime covers contents and attributes.

        Where it does not (see `mounts`), the scan runs in every build.

        Raises:
            InputUnreadableError: something could not be listed.
            InputChangedError: the tree changes while it is read.
            InputError: the tree contains a mount.
        """
        hasher = hashlib.sha256()
        pack = _packed
        with self._opened() as (root_fd, top):
            hasher.update(pack(("/", *_stat_fields(top))))
            folders = [_Folder("/", top)]
            while folders:
                folder = folders.pop()
                base = _below(folder.path)
                children = self._listed(root_fd, folder, lambda _fd, children: children)
                hasher.update(
                    pack(
                        (folder.path, [(name, *_stat_fields(status)) for name, status in children])
                    )
                )
                found = [
                    _Folder(base + name, status)
                    for name, status in children
                    if stat.S_ISDIR(status.st_mode)
                ]
                folders += [folder for folder in found if self._descends(folder.path)]
        return hasher.hexdigest()

    def entries(self) -> Iterator[Entry]:
        """Yield every entry in path order; only one directory is open at a time.

        Raises:
            InputUnreadableError: a directory could not be listed, or a link or attribute could not
                be read.
            InputChangedError: the tree changes while it is read.
            InputError: the tree contains a mount.
        """
        with self._opened() as (root_fd, top):
            links: dict[tuple[int, int], str] = {}
            yield self._entry("/", top, f"/proc/self/fd/{root_fd}/.", links)
            levels = [iter(self._items(root_fd, _Folder("/", top), links))]
            while levels:
                for _, item in levels[-1]:
                    if isinstance(item, Entry):
                        yield item
                    else:
                        levels.append(iter(self._items(root_fd, item, links)))
                        break
                else:
                    levels.pop()

    def holders(self, path: str) -> Iterator[str]:
        """Yield the directory if it has an entry at a path."""
        if os.path.lexists(self._prefix + path):
            yield self._root

    def _items(
        self, root_fd: int, folder: _Folder, links: dict[tuple[int, int], str]
    ) -> list[tuple[str, Entry | _Folder]]:
        """Return the entries of a directory, with those to descend into at their place by path."""
        base = _below(folder.path)

        def items(fd: int, children: Iterable[_Child]) -> list[tuple[str, Entry | _Folder]]:
            made: list[tuple[str, Entry | _Folder]] = []
            for name, status in children:
                path = base + name
                # The attributes of a link can be read by path only. This path is short, and nobody
                # can lead it elsewhere.
                made.append((name, self._entry(path, status, f"/proc/self/fd/{fd}/{name}", links)))
                if stat.S_ISDIR(status.st_mode) and self._descends(path):
                    made.append((name + "/", _Folder(path, status)))
            return made

        return sorted(self._listed(root_fd, folder, items), key=itemgetter(0))

    def _descends(self, path: str) -> bool:
        return len(os.fsencode(path)) <= limits.PATH and not self._prune(path)

    def _entry(
        self, path: str, status: os.stat_result, access: str, links: dict[tuple[int, int], str]
    ) -> Entry:
        """Return one entry; `access` is a path at which the system finds it, come what may."""
        mode = status.st_mode
        target = content = link = None
        xattrs = NO_XATTRS
        try:
            if stat.S_ISREG(mode):
                content = Content(self._prefix + path, 0, status.st_size, stat_key(status), None)
            elif stat.S_ISLNK(mode):
                target = os.readlink(access)
            elif (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)) and status.st_rdev:
                target = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
            xattrs = _read_xattrs(access)
        except OSError as error:
            if not self._is_denied(path, error):
                raise self._refused(path, error) from error
        if status.st_nlink > 1 and not stat.S_ISDIR(mode):
            link = links.setdefault((status.st_dev, status.st_ino), path)
        return Entry(path, mode, status.st_uid, status.st_gid, xattrs, target, content, link)

    @contextmanager
    def _opened(self) -> Iterator[tuple[int, os.stat_result]]:
        fs.check_names()
        if not os.path.exists("/proc/self/fd"):
            raise InputError(
                "reading a directory needs /proc, which is not mounted here",
                where=self._root,
                hint=(
                    "mount it (`mount -t proc proc /proc`), or give the rootfs as an archive: "
                    "`source: {tar: …}`"
                ),
            )
        try:
            fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(
                "cannot open the rootfs directory", where=self._root, observed=error.strerror
            ) from error
        with fs.closing_fd(fd):
            if self._one_file_system:
                self._refuse_mounts()
            yield fd, os.fstat(fd)

    def _listed(
        self, root_fd: int, folder: _Folder, use: Callable[[int, list[_Child]], list[T]]
    ) -> list[T]:
        """Return what `use` makes of a directory that stays unchanged: its descriptor and entries.

        If permissions do not allow listing it and such paths are collected, it counts as empty.
        """
        # No context manager: entering one for each directory would take a tenth of the time of a
        # walk.
        try:
            fd = os.open(folder.path[1:] or ".", _FLAGS, dir_fd=root_fd)
            try:
                self._check_same(folder, os.fstat(fd))
                with os.scandir(fd) as found:
                    children = [(child.name, child.stat(follow_symlinks=False)) for child in found]
                children.sort(key=itemgetter(0))
                made = use(fd, children)
                self._check_same(folder, os.fstat(fd))
                return made
            finally:
                os.close(fd)
        except OSError as error:
            if self._is_denied(folder.path, error):
                return []
            raise self._refused(folder.path, error) from error

    def _is_denied(self, path: str, error: BaseException | None) -> bool:
        """Whether a path is unreadable and to be collected; dropped paths are not."""
        if self._denied is None or not isinstance(error, PermissionError):
            return False
        if not self._drop(path):
            self._denied.add((self._prefix, path))
        return True

    def _check_same(self, folder: _Folder, now: os.stat_result) -> None:
        if _stat_fields(now) != _stat_fields(folder.status):
            raise self._changed(folder.path)

    def _changed(self, path: str) -> InputChangedError:
        return InputChangedError(
            "changed while the tree was read",
            where=self._prefix + path,
            hint="build again when nothing writes to the rootfs any more",
        )

    def _refused(self, path: str, error: OSError) -> OtabuildError:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ESTALE}:
            return self._changed(path)
        return InputUnreadableError(
            "cannot be read",
            where=self._prefix + path,
            observed=error.strerror,
            hint="build as a user who may read the whole tree, or exclude what is there",
        )

    def _refuse_mounts(self) -> None:
        top = os.path.realpath(self._root).rstrip("/")
        paths = {mount.point: mount.point[len(top) :] for mount in mounts_below(self._root)}
        kept = [
            mount
            for mount, path in paths.items()
            if not self._drop(path) and not self._pruned(path)
        ]
        if kept:
            raise InputError(
                "other file systems are mounted inside the rootfs",
                where=self._root,
                observed=", ".join(sorted(kept)),
                hint="unmount them, exclude them, or set one-file-system: false",
            )

    def _pruned(self, path: str) -> bool:
        """Whether a directory on the way down to a path is pruned."""
        return any(self._prune(path[: found.start()]) for found in re.finditer("(?<=.)/", path))


def _below(path: str) -> str:
    return path if path == "/" else path + "/"


def _read_xattrs(access: str) -> Mapping[str, bytes]:
    try:
        names = os.listxattr(access, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return NO_XATTRS
        raise
    if not names:
        return NO_XATTRS
    return {name: os.getxattr(access, name, follow_symlinks=False) for name in sorted(names)}
