"""A store in a folder of this machine, or on a network mount."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator

from otabuild.errors import IntegrityError, StoreError
from otabuild.storage import fs
from otabuild.storage.backend import extent, range_of, reading
from otabuild.storage.files import creating
from otabuild.storage.member import Member, member_chunks
from otabuild.stores.store import Store, StoreFile

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_RELEASE = re.compile(r"releases/[^/]+/")
_BLOBS = "blobs"
_BLOBS_OF_STORE = "../../blobs"
_UNFINISHED = ".otabuild-tmp"
"""Ends the name of a file that is being written; a kill leaves it, and pruning removes it."""


class FolderStore(Store):
    """Files in a folder; a release in it is an image directory linked to the blobs of all."""

    def __init__(self, url: str, path: str) -> None:
        super().__init__(url)
        self._path = os.path.abspath(path)

    def put(self, key: str, member: Member) -> None:
        """See `Store.put`."""
        target = os.path.join(self._path, key)
        folder, name = os.path.split(target)
        # A name of its own: two that put the same blob do not wait for each other, and either
        # result is right.
        unfinished = os.path.join(folder, f".{name}.{secrets.token_hex(8)}{_UNFINISHED}")
        self._make_folder(key)
        try:
            with creating(unfinished) as fd:
                for chunk in member_chunks(member):
                    fs.write(fd, chunk, target)
                if not key.startswith("blobs/"):
                    # What this file refers to is on the disk before it is seen.
                    fs.sync_file_system(fd, target)
            fs.rename(unfinished, target)
            if not key.startswith("blobs/"):
                fs.sync_directory(folder)
        except BaseException:
            fs.unlink(unfinished, missing_ok=True)
            raise

    def _make_folder(self, key: str) -> None:
        folder = os.path.dirname(os.path.join(self._path, key))
        if os.path.isdir(folder):
            return
        fs.makedirs(folder)
        if release := _RELEASE.match(key):
            fs.symlink(_BLOBS_OF_STORE, os.path.join(self._path, release[0], _BLOBS))

    def chunks(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See `Store.chunks`."""
        with reading(key):
            fd = os.open(os.path.join(self._path, key), _FILE)
        with fs.closing_fd(fd):
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise IntegrityError("not a plain file", where=key, observed=oct(status.st_mode))
            self.traffic.add(1, 0)
            for chunk in extent(fd, *range_of(status.st_size, start, end, key), key):
                self.traffic.add(0, len(chunk))
                yield chunk

    def stat(self, key: str) -> StoreFile | None:
        """See `Store.stat`."""
        try:
            status = os.lstat(os.path.join(self._path, key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._error("look at", key, error) from error
        if not stat.S_ISREG(status.st_mode):
            return None
        return StoreFile(key, status.st_size, status.st_mtime)

    def files(self, prefix: str) -> Iterator[StoreFile]:
        """See `Store.files`."""
        return (file for file in self._walk(prefix) if not file.key.endswith(_UNFINISHED))

    def leftovers(self) -> Iterator[StoreFile]:
        """See `Store.leftovers`."""
        return (file for file in self._walk("") if file.key.endswith(_UNFINISHED))

    def _walk(self, prefix: str) -> Iterator[StoreFile]:
        todo = [prefix]
        while todo:
            folder = todo.pop()
            try:
                with os.scandir(os.path.join(self._path, folder)) as entries:
                    found = list(entries)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._error("list", folder, error) from error
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(f"{folder}{entry.name}/")
                else:
                    file = self.stat(f"{folder}{entry.name}")
                    if file is not None:  # a plain file, and not gone by now
                        yield file

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        path = os.path.join(self._path, key)
        fs.unlink(path, missing_ok=True)
        folder = os.path.dirname(path)
        # The last file takes the folders of its release along.
        while _RELEASE.match(key) and folder != self._path:
            link = os.path.join(folder, _BLOBS)
            if os.path.islink(link) and self._names(folder) == [_BLOBS]:
                fs.unlink(link, missing_ok=True)
            if not fs.rmdir(folder):
                break
            folder = os.path.dirname(folder)

    def close(self) -> None:
        """See `Store.close`; nothing is."""

    def _names(self, folder: str) -> list[str]:
        try:
            return os.listdir(folder)
        except FileNotFoundError:
            return []  # another thread removed the last file of this release
        except OSError as error:
            raise self._error("list", folder, error) from error

    def _error(self, operation: str, key: str, error: OSError) -> StoreError:
        return StoreError(
            f"cannot {operation}", where=os.path.join(self._path, key), observed=error.strerror
        )
