"""Where the bytes of a rootfs are: by directory, by storage form, the largest files, duplicates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from otabuild.image.image import Image, Payload
from otabuild.image.storage_form import shares, stored_contents
from otabuild.image.tables import REGULARS, FileEntry

_LARGEST = 30
_SMALLEST_SHARE = 0.001


@dataclass(slots=True)
class FolderUse:
    """A directory, or a file that is large enough to show; sizes in bytes, of all below.

    `size` counts a hard-linked file once; `stored` is its share of the image.
    """

    name: str
    size: int = 0
    stored: float = 0
    files: int = 0
    children: dict[str, FolderUse] = field(default_factory=dict)

    def add(self, path: str, size: int, stored: float) -> None:
        """Count a file, in this node and in every directory on the way to it."""
        node = self
        for name in (None, *path.strip("/").split("/")):
            if name is not None:
                node = node.children.setdefault(name, FolderUse(name))
            node.size += size
            node.stored += stored
            node.files += 1

    def prune(self, smallest_size: float, smallest_stored: float) -> None:
        """Drop what is too small to show; the directories above still count it."""
        largest_first = sorted(self.children.items(), key=lambda item: (-item[1].size, item[0]))
        self.children = {
            name: child
            for name, child in largest_first
            if child.size >= smallest_size or child.stored >= smallest_stored
        }
        for child in self.children.values():
            child.prune(smallest_size, smallest_stored)


@dataclass(slots=True)
class FormUse:
    """The number of contents stored in one form, their bytes, and their share of the blobs."""

    contents: int = 0
    size: int = 0
    stored: float = 0


@dataclass(frozen=True, slots=True)
class ContentUse:
    """A content: its paths (hard links once), its size, form, and share of the blobs, in bytes."""

    paths: tuple[str, ...]
    size: int
    form: str
    stored: float

    @property
    def repeated(self) -> int:
        """Bytes on the device for the copies after the first."""
        return self.size * (len(self.paths) - 1)


@dataclass(frozen=True, slots=True)
class Usage:
    """Where the bytes of one rootfs are.

    Attributes:
        payloads: names of the payloads with it.
        tree: `/`, with everything in it that is large enough to show.
        forms: by storage form; `inline` contents are in the file table.
        largest: the largest contents, largest first.
        duplicates: the contents whose copies take the most space, largest first.
    """

    payloads: tuple[str, ...]
    tree: FolderUse
    forms: dict[str, FormUse]
    largest: tuple[ContentUse, ...]
    duplicates: tuple[ContentUse, ...]


def usage(image: Image, payloads: Sequence[Payload]) -> Usage:
    """Return where the bytes of the rootfs shared by these payloads are.

    Raises:
        TableError, FilterError, LimitError: file table or resource table is invalid.
    """
    contents = _contents(payloads[0])
    stored = tuple(stored_contents(image.resources, contents))
    form_of, share = {content.digest: content.form for content in stored}, shares(stored)
    tree, forms, found = FolderUse("/"), defaultdict[str, FormUse](FormUse), list[ContentUse]()
    for digest, entries in contents.items():
        size, blob_bytes = entries[0].size, share.get(digest, 0)
        form: str = form_of.get(digest, "inline")
        use = forms[form]
        use.contents += 1
        use.size += size
        use.stored += blob_bytes
        for entry in entries:
            tree.add(entry.path, size, blob_bytes / len(entries))
        found.append(ContentUse(tuple(entry.path for entry in entries), size, form, blob_bytes))
    tree.prune(tree.size * _SMALLEST_SHARE, tree.stored * _SMALLEST_SHARE)
    largest = sorted(found, key=lambda content: (-content.size, content.paths))
    repeated = filter(lambda content: content.repeated, found)
    duplicates = sorted(repeated, key=lambda content: (-content.repeated, content.paths))
    return Usage(
        tuple(payload.name for payload in payloads),
        tree,
        dict(sorted(forms.items())),
        tuple(largest[:_LARGEST]),
        tuple(duplicates[:_LARGEST]),
    )


def _contents(payload: Payload) -> dict[bytes, list[FileEntry]]:
    """Return the entries of each content; of hard links only the first in path order."""
    contents: defaultdict[bytes, list[FileEntry]] = defaultdict(list)
    linked: set[int] = set()
    for entry in payload.file_table.select(REGULARS, "ORDER BY path"):
        if entry.links_count is not None:
            if entry.inode_id in linked:
                continue
            linked.add(entry.inode_id)
        assert entry.digest is not None
        contents[entry.digest].append(entry)
    return dict(contents)
