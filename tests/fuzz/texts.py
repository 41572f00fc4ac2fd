"""Targets: short texts of recipes and command lines."""

from __future__ import annotations

from collections.abc import Callable

from otabuild.format.capabilities import format_capability, parse_capability
from otabuild.format.digest import parse_digest
from otabuild.format.sizes import parse_size
from otabuild.format.times import parse_epoch, parse_time
from otabuild.rootfs import acl_text
from otabuild.rootfs.patterns import Patterns
from tests.fuzz import mutations
from tests.fuzz.target import Target


def _text(read: Callable[[str], object], *seeds: str) -> Target:
    return Target(
        lambda raw: read(raw.decode("utf-8", "surrogateescape")),
        lambda: {f"{number}": seed.encode() for number, seed in enumerate(seeds)},
        mutations.of_text,
    )


def _pattern(text: str) -> object:
    found = Patterns([text])
    return found.match("/usr/lib/python3/x.pyc"), found.match_below("/var"), found.unmatched


def _capability(raw: bytes) -> object:
    return format_capability(raw)


TARGETS = {
    "size": _text(parse_size, "300MiB", "1.5 GiB", "4096"),
    "time": _text(parse_time, "2026-11-23T08:00:00Z", "2026-11-23", "2026-W01-1T08:00+23:59"),
    "epoch": _text(parse_epoch, "1767225600"),
    "digest": _text(parse_digest, f"sha256:{'ab' * 32}"),
    "pattern": _text(_pattern, "/usr/**/*.pyc", "var/cache/?*", "*.log"),
    "capability": _text(parse_capability, "cap_net_raw,cap_net_admin+ep", "all=i"),
    "acl-text": Target(
        lambda raw: acl_text.attribute("SCHILY.acl.access", raw),
        lambda: {"numbers": b"user::rwx,user:1000:r--,group::r-x,mask::r-x,other::---", "bsd": b"user:bin:rw-:2"},
        mutations.of_text,
    ),
    "capability-value": Target(_capability, lambda: {"v2": parse_capability("cap_net_raw+ep")}),
}
