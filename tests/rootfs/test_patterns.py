from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otabuild.errors import InputError
from otabuild.rootfs.patterns import Patterns, translated

CASES = [
    ("/var/cache/apt/**", ["/var/cache/apt/x", "/var/cache/apt/x/y"], ["/var/cache/apt", "/x/var/cache/apt/y"]),
    ("/var/cache/apt", ["/var/cache/apt", "/var/cache/apt/x"], ["/var/cache/apt2", "/var/cache"]),
    ("*.pyc", ["/a.pyc", "/usr/lib/b.pyc", "/x.pyc/below"], ["/a.pyc2", "/pyc"]),
    ("doc/*.txt", ["/doc/a.txt", "/usr/doc/a.txt"], ["/doc/x/a.txt", "/mydoc/a.txt"]),
    ("/a/*/c", ["/a/b/c", "/a/b/c/d"], ["/a/c", "/a/b/b/c", "/x/a/b/c"]),
    ("/a/**/c", ["/a/c", "/a/b/c", "/a/b/b/c"], ["/c", "/x/a/c", "/a/bc"]),
    ("/a/**/b*/c", ["/a/b/c", "/a/x/b/bb/c", "/a/b1/b2/c"], ["/a/b/x/c"]),
    ("/log/**/*.log*", ["/log/a.log", "/log/x/y.log.1"], ["/log/alog", "/a.log"]),
    ("/a?c", ["/abc", "/a\nc", "/a日c"], ["/ac", "/a/c", "/abbc"]),
    ("/x[1]", ["/x1", "/x1/y"], ["/x[1]", "/x2"]),
    ("/x[!1]", ["/x2", "/xa"], ["/x1", "/x/", "/x"]),
    ("/x[[]1]", ["/x[1]"], ["/x1"]),
    ("/[a-c]*.[ch]", ["/a.c", "/bx.h"], ["/d.c", "/a.o"]),
    ("/[]x]", ["/]", "/x"], ["/y"]),
    ("/log/[!a]*", ["/log/b", "/log/bc"], ["/log/a", "/log/abc", "/log"]),
    ("/a[]", ["/a[]"], ["/a"]),
    ("a*b*a", ["/aba", "/axbxa", "/abba"], ["/ab", "/aab"]),
    ("/dev/", ["/dev", "/dev/x"], ["/device"]),
    ("**", ["/a", "/a/b"], []),
    ("/**/x/**", ["/x/y", "/a/x/y"], ["/x", "/a/x"]),
    ("/lost+found", ["/lost+found"], ["/losttfound"]),
]


@pytest.mark.parametrize(("pattern", "hits", "misses"), CASES, ids=[case[0] for case in CASES])
def test_patterns(pattern: str, hits: list[str], misses: list[str]) -> None:
    for path in hits:
        assert Patterns([pattern]).match(path), path
    for path in misses:
        assert not Patterns([pattern]).match(path), path


NAMED = ["/a/[[:alpha:]]", "[![:digit:]]*", "x[a[=e=]]", "x/[[.hyphen.]]"]
"""Classes of POSIX, which Python's fnmatch, and so the reference builder, reads as characters."""


@pytest.mark.parametrize(
    "pattern", ["", "/", "!keep", "/a/../b", "./a", "a//b", "a**b", "/x/**.log", "/a[b", "x/[a-z", *NAMED]
)
def test_illegal_patterns_are_named(pattern: str) -> None:
    with pytest.raises(InputError, match="exclude pattern"):
        Patterns([pattern])


def test_unmatched_patterns_are_remembered() -> None:
    patterns = Patterns(["*.a", "/b", "c"])
    assert patterns.match("/x/y.a")
    assert not patterns.match("/nothing")
    assert patterns.unmatched == ["/b", "c"]


def test_no_patterns_match_nothing() -> None:
    assert not Patterns([]).match("/a")


def test_a_folder_of_which_all_goes_is_known() -> None:
    assert Patterns(["/tmp/**"]).match_below("/tmp")
    assert Patterns(["/tmp/*"]).match_below("/tmp")
    assert Patterns(["/**"]).match_below("/")
    assert not Patterns(["/tmp/*.x", "/tmp/a", "/tmp/?", "/tmp/*/x"]).match_below("/tmp")
    assert not Patterns(["/tmp/[!a]*", "/tmp/[a-z]*", "/tmp/[!a]"]).match_below("/tmp")


_NAME = st.text("ab*?", min_size=1, max_size=4).filter(lambda name: "**" not in name)
_PATTERN = st.lists(_NAME | st.just("**"), min_size=1, max_size=4).map("/".join)
_PATH = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=5).map(lambda names: "/" + "/".join(names))


def _naive(pattern: str, path: str) -> bool:
    """The rules as a backtracking expression."""
    names = [n for n in pattern.split("/") if n]
    if not pattern.startswith("/"):
        names.insert(0, "**")
    out = "".join(
        r"(?:/[^/]+)*" if n == "**" else "/" + "".join({"*": "[^/]*", "?": "[^/]"}.get(c, c) for c in n) for n in names
    )
    if names[-1] == "**":
        out += r"/[^/]+"
    return re.fullmatch(out + r"(?:/.*)?", path) is not None


@settings(max_examples=500)
@given(st.sampled_from(["", "/"]), _PATTERN, _PATH)
def test_the_linear_match_is_the_backtracking_one(anchor: str, pattern: str, path: str) -> None:
    assert Patterns([anchor + pattern]).match(path) == _naive(anchor + pattern, path)


@settings(max_examples=500)
@given(st.text("ab*?[]!-^\\&|~/.\n", max_size=12))
def test_whatever_a_recipe_accepts_is_a_pattern(pattern: str) -> None:
    try:
        translated(pattern)
    except InputError:
        return
    assert Patterns([pattern]).unmatched == [pattern]


def test_b14_no_pattern_takes_long() -> None:
    path = "/" + "/".join(["a" * 250] * 16)
    for pattern in "*a" * 100 + "b", "/".join(["**", "*a*a*a*"] * 16) + "/b", "/**" * 100 + "/b", "a*" * 120 + "b":
        assert not Patterns([pattern]).match(path)
