"""Virtual changes of a rootfs: steps on the stream of entries. The source itself is never changed.

Input and output of every step are in path order (sections 10 and 11).
"""

from __future__ import annotations

import pwd
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import translate

from otabuild.errors import InputError, InputUnreadableError
from otabuild.format.file_table import ACL, CAPABILITY, DEFAULT_ACL, xattr_name_problem
from otabuild.format.json_text import load_json
from otabuild.rootfs.content import is_readable, load_content
from otabuild.rootfs.entry import Content, Entry
from otabuild.rootfs.patterns import Patterns

EMPTIED = {"/dev": 0o755, "/proc": 0o755, "/run": 0o755, "/sys": 0o755, "/tmp": 0o1777}  # noqa: S108 -- a path of the rootfs, not of this host
"""The folders that `clean` empties, with the mode to use if a folder has to be made."""
CLEANED = (
    *(f"{folder}/**" for folder in EMPTIED),
    "/lost+found",
    "/.dockerenv",
    "/var/log/**/*.log*",
    "/var/log/**/*.journal*",
    "/var/log/dmesg*",
    "/var/log/lastlog",
    "/var/log/syslog",
    "/var/log/syslog.*",
)
"""The exclude patterns of `clean`."""
STUB_RESOLV_CONF = "../run/systemd/resolve/stub-resolv.conf"
_NAMESPACES = {"user", "trusted", "security"}
"""The namespaces of attributes that every Linux file system with attributes can store."""
_ACLS = (ACL, DEFAULT_ACL)
_OF_HOSTS = (
    "trusted.SGI_",  # XFS shows root its own form of access control lists
    "trusted.lov",  # Lustre
    "trusted.lma",
    "trusted.link",
    "trusted.gfid",  # GlusterFS
    "trusted.glusterfs.",
    "trusted.afr.",
    "security.NTACL",  # Samba
    "user.DOSATTRIB",
)
"""Attributes within those namespaces in which file systems and servers keep their own records."""
_OF_SYSTEMS = frozenset({"/etc", "/usr"})
_SHOWN = 20
_RESOLV_CONF_LIMIT = 1 << 16
_MANIFEST_LIMIT = 4 << 20
_LOOPBACK = re.compile(rb"127(\.\d{1,3}){3}|::1")

Maker = Callable[[Entry | None], Entry | None]
"""Makes the entry of a path from the existing one, if any; None leaves the path out."""


def exclude(entries: Iterable[Entry], patterns: Patterns) -> Iterator[Entry]:
    """Drop entries that match the patterns; `/` always stays."""
    match = patterns.match
    return (entry for entry in entries if not match(entry.path) or entry.path == "/")


def place(entries: Iterable[Entry], makers: Mapping[str, Maker]) -> Iterator[Entry]:
    """Replace or add entries.

    Each maker is called once. If it turns a directory into something else, everything below is
    dropped.
    """
    # An entry that is added must come out at its place in path order without holding the stream, so
    # the paths to make wait in a stack, the next one on top: what the stream has passed did not
    # exist, what it meets is replaced.
    waiting = sorted(makers, reverse=True)
    dropped: tuple[str, ...] = ()
    for entry in entries:
        while waiting and waiting[-1] < entry.path:
            made = makers[waiting.pop()](None)
            if made is not None:
                yield made
        if dropped and entry.path.startswith(dropped):
            continue
        if waiting and waiting[-1] == entry.path:
            new = makers[waiting.pop()](entry)
            if new is None or not new.is_directory:
                dropped += (entry.path + "/",)
            if new is not None:
                yield new
        else:
            yield entry
    for path in reversed(waiting):
        made = makers[path](None)
        if made is not None:
            yield made


def directory(path: str, mode: int = 0o755) -> Entry:
    """Return a directory owned by root without attributes."""
    return Entry(path, stat.S_IFDIR | mode)


def emptied_folders() -> dict[str, Maker]:
    """Return makers for the folders that `clean` empties.

    Existing folders keep their inode, others are made.
    """

    def maker(path: str, mode: int) -> Maker:
        def made(found: Entry | None) -> Entry:
            return found if found is not None and found.is_directory else directory(path, mode)

        return made

    return {path: maker(path, mode) for path, mode in EMPTIED.items()}


def stub_resolv_conf() -> dict[str, Maker]:
    """Return makers that keep a resolv.conf of loopback servers, else link it to the stub.

    If `/etc` is not a directory, the link cannot be placed and is left out.
    """
    in_directory = True

    def etc(found: Entry | None) -> Entry:
        nonlocal in_directory
        in_directory = found is None or found.is_directory
        return found or directory("/etc")

    def resolv_conf(found: Entry | None) -> Entry | None:
        if found is not None and _is_loopback_only(found):
            return found
        link = Entry("/etc/resolv.conf", stat.S_IFLNK | 0o777, target=STUB_RESOLV_CONF)
        return link if in_directory else None

    return {"/etc": etc, "/etc/resolv.conf": resolv_conf}


def _is_loopback_only(entry: Entry) -> bool:
    if entry.content is None or entry.content.size > _RESOLV_CONF_LIMIT:
        return False
    lines = [line.split() for line in load_content(entry.content).splitlines()]
    servers = [words[1] for words in lines if len(words) > 1 and words[0] == b"nameserver"]
    return bool(servers) and all(_LOOPBACK.fullmatch(server) for server in servers)


def drop_xattrs(
    entries: Iterable[Entry], patterns: Iterable[str], dropped: Counter[str], foreign: Counter[str]
) -> Iterator[Entry]:
    """Drop and count attributes that match a shell pattern; make capabilities portable.

    A capability of a user namespace (24 bytes, revision 3) is converted to revision 2 (section 6).
    What no Linux target can set is dropped, too: silently where a file system of the build host
    added it, else counted as foreign.
    """
    unwanted = re.compile("|".join(map(translate, patterns)) or r"(?!)").match
    for entry in entries:
        if not entry.xattrs:
            yield entry
            continue
        wanted = {
            name for name in entry.xattrs if not unwanted(name) and not name.startswith(_OF_HOSTS)
        }
        dropped.update(entry.xattrs.keys() - wanted)
        kept = {
            name: _portable(name, value) for name, value in entry.xattrs.items() if name in wanted
        }
        strange = [name for name in kept if not _travels(name)]
        foreign.update(strange)
        for name in strange:
            del kept[name]
        yield entry._replace(xattrs=kept)


def _travels(name: str) -> bool:
    """Whether a Linux target can set an attribute of this name."""
    namespace, _, rest = name.partition(".")
    if (namespace in _NAMESPACES and rest) or name.startswith(_ACLS):
        return True
    # A name that no inode can have is not foreign but damaged: the gate refuses it.
    return bool(xattr_name_problem(name))


def _portable(name: str, value: bytes) -> bytes:
    if name == CAPABILITY and len(value) == 24 and value[3] == 3:
        return value[:3] + b"\x02" + value[4:20]
    return value


def own(entries: Iterable[Entry], owner: tuple[int, int] | None) -> Iterator[Entry]:
    """Set the owner of every entry to (uid, gid); None keeps the owners."""
    if owner is None:
        yield from entries
        return
    uid, gid = owner
    for entry in entries:
        yield entry._replace(uid=uid, gid=gid)


def check_owner(source: Iterable[Entry], *, euid: int, where: str) -> Iterator[Entry]:
    """Refuse a tree whose owners come from an ordinary user.

    Raises:
        InputError: the build does not run as root, and `/` of the tree does not belong to root.
    """
    for entry in source:
        if entry.path == "/" and euid and entry.uid:
            raise InputError(
                "the tree belongs to an ordinary user, so every file would belong to "
                "that user on the device",
                where=where,
                observed=f"owner of / is {entry.uid}:{entry.gid}",
                hint='set `owner: "0:0"`, or build as root from a tree with the true owners',
            )
        yield entry


def no_container_image(source: Iterable[Entry], *, where: str) -> Iterator[Entry]:
    """Refuse a container image that is used as the rootfs itself.

    Raises:
        InputError: the tree has `/oci-layout` with `/index.json`, or a `/manifest.json` that lists
            layers.
    """
    index = False  # in path order, it comes before what it belongs to
    for entry in source:
        if entry.path == "/index.json":
            index = True
        elif entry.path == "/oci-layout" and index:
            raise _is_image(where, "/oci-layout beside /index.json", "write `source: {oci: …}`")
        elif entry.path == "/manifest.json" and (hint := _hint_for_layers(entry.content, where)):
            raise _is_image(where, "/manifest.json lists layers", hint)
        yield entry


def _hint_for_layers(manifest: Content | None, where: str) -> str:
    """Return what to write for a container image's manifest; empty if it is of something else.

    Every tool names the layers in its own way, so their names tell nothing.
    """
    if manifest is None or manifest.size > _MANIFEST_LIMIT:
        return ""
    try:
        value = load_json(load_content(manifest))
    except ValueError:
        return ""
    if isinstance(value, list) and value and isinstance(value[0], dict) and "Layers" in value[0]:
        return "write `source: {docker-archive: …}`"
    if isinstance(value, dict) and {"config", "layers"} <= value.keys():
        copy = f"skopeo copy dir:{where} oci:LAYOUT:TAG"
        return f"make a layout of it, `{copy}`, and write `source: {{oci: LAYOUT:TAG}}`"
    return ""


def _is_image(where: str, observed: str, hint: str) -> InputError:
    return InputError(
        "is a container image, not a root file system", where=where, observed=observed, hint=hint
    )


_PARTIAL = "`partial: true` under this rootfs allows it"


def not_empty(entries: Iterable[Entry], *, where: str) -> Iterator[Entry]:
    """Refuse a source without an entry: a wrong path, or a mount that is missing.

    Raises:
        InputError: there is none. Raised after the last entry.
    """
    is_empty = True
    for entry in entries:
        is_empty = is_empty and entry.path == "/"
        yield entry
    if is_empty:
        raise InputError(
            "the source is empty",
            where=where,
            hint=f"name the folder or archive with its entries, or leave it out; {_PARTIAL}",
        )


def whole_system(entries: Iterable[Entry], missing: list[str]) -> Iterator[Entry]:
    """Refuse what cannot be a root file system; collect /etc and /usr where both are missing.

    Raises:
        InputError: nothing is left in it, or the system lies one folder further down. Raised after
            the last entry.
    """
    is_empty, tops, below = True, set[str](), set[str]()
    for entry in entries:
        is_empty = is_empty and entry.path == "/"
        if entry.path in _OF_SYSTEMS:
            tops.add(entry.path)
        elif (
            entry.is_directory
            and entry.path.count("/") == 2
            and entry.path.endswith(("/etc", "/usr"))
        ):
            below.add(entry.path.rpartition("/")[0])
        yield entry
    if is_empty:
        raise InputError(
            "the rootfs is empty: its sources hold nothing, or everything is excluded",
            hint=f"name the folder or archive that holds the system; {_PARTIAL}",
        )
    if not tops:
        missing += sorted(_OF_SYSTEMS)
    if not tops and below:
        raise InputError(
            "the root file system lies one folder further down",
            observed=f"/etc or /usr in {', '.join(sorted(below))}",
            expected="/etc or /usr",
            hint=f"name the folder {min(below)} of it as the source; {_PARTIAL}",
        )


def check_readable(
    entries: Iterable[Entry], denied: set[tuple[str, str]], *, euid: int
) -> Iterator[Entry]:
    """Refuse, after the last entry, everything that permissions do not allow to read.

    A file is opened only if its mode does not let everybody read it, or if it has attributes (an
    access control list).

    Args:
        entries: as they are in their sources, before rules change modes.
        denied: (host directory, path) of what the sources could not list; complete after the last
            entry.
        euid: the effective user id that reads.

    Raises:
        InputUnreadableError: something cannot be read.
    """
    for entry in entries:
        content = entry.content
        doubtful = entry.mode & 0o444 != 0o444 or entry.xattrs
        if doubtful and content is not None and content.stat_key and not is_readable(content):
            denied.add((content.host_path.removesuffix(entry.path), entry.path))
        yield entry
    if denied:
        raise _unreadable(denied, euid)


def _unreadable(denied: set[tuple[str, str]], euid: int) -> InputUnreadableError:
    paths = sorted(path for _, path in denied)
    more = f", and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    try:
        user = pwd.getpwuid(euid).pw_name
    except KeyError:
        user = str(euid)
    return InputUnreadableError(
        f"{len(paths)} {'entry' if len(paths) == 1 else 'entries'} cannot be read by user {user}",
        where=", ".join(sorted({root or "/" for root, _ in denied})),
        observed=", ".join(paths[:_SHOWN]) + more,
        hint="build as root; or make a tar as root (`tar --xattrs -cf rootfs.tar -C TREE .`) and "
        "write `source: {tar: rootfs.tar}`; or exclude these",
    )
