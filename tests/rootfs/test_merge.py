from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otabuild.errors import InputError
from otabuild.rootfs.entry import OPAQUE, Entry, Mark
from otabuild.rootfs.merge import apart, merge, settled
from tests.rootfs.trees import folder, paths, regular, symlink

Tree = dict[str, str | int]
"""Path -> content of a file, or owner of a directory."""


def stream(tree: Tree) -> list[Entry]:
    return [
        folder(path, uid=node) if isinstance(node, int) else symlink(path, node) for path, node in sorted(tree.items())
    ]


def _trees() -> st.SearchStrategy[Tree]:
    names = st.lists(st.sampled_from(["a", "a-", "a.b", "b"]), min_size=1, max_size=4)
    nodes = st.lists(st.tuples(names, st.integers(0, 3) | st.sampled_from(["x", "y"])), max_size=8)

    def build(chosen: list[tuple[list[str], str | int]]) -> Tree:
        tree: Tree = {"/": 0}
        for parts, node in chosen:
            above = ["/" + "/".join(parts[:n]) for n in range(1, len(parts))]
            if all(isinstance(tree.get(path, 0), int) for path in above) and "/" + "/".join(parts) not in tree:
                tree |= {path: 0 for path in above if path not in tree} | {"/" + "/".join(parts): node}
        return tree

    return nodes.map(build)


def _lay(lower: Tree, upper: Tree) -> Tree:
    result = dict(lower)
    for path, node in upper.items():
        if isinstance(node, str):
            result = {old: kept for old, kept in result.items() if not old.startswith(path + "/")}
        result[path] = node
    return result


@given(st.lists(_trees(), min_size=1, max_size=4))
def test_a_merge_is_laying_one_tree_after_the_other(trees: list[Tree]) -> None:
    expected: Tree = {}
    for tree in trees:
        expected = _lay(expected, tree)
    assert list(merge([stream(tree) for tree in trees])) == stream(expected)


def test_hard_links_of_different_sources_stay_apart() -> None:
    lower = [folder("/"), regular("/a", link="/a"), regular("/b", link="/a")]
    upper = [folder("/"), regular("/a", link="/a"), regular("/c", link="/a")]
    a, b, c = (entry.link for entry in list(merge([apart(lower, 0), apart(upper, 1)]))[1:])
    assert a == c != b


def test_an_implied_directory_leaves_metadata_alone() -> None:
    implied = Entry("/etc", Mark.IMPLIED, 0, 0, {}, None, None, None)
    below = [folder("/"), folder("/etc", mode=0o700, uid=5)]
    assert list(merge([below, [folder("/"), implied, regular("/etc/x")]]))[1] == below[1]
    assert list(merge([[folder("/")], [folder("/"), implied]]))[1] == implied
    assert list(merge([below, [folder("/"), implied], [folder("/"), implied]]))[1] == below[1]


@pytest.mark.parametrize("lower", [symlink("/lib", "usr/lib"), regular("/lib")])
def test_an_implied_directory_over_anything_else_is_refused(lower: Entry) -> None:
    implied = Entry("/lib", Mark.IMPLIED, 0, 0, {}, None, None, None)
    with pytest.raises(InputError, match="/lib: a source places entries below"):
        list(merge([[folder("/"), lower], [folder("/"), implied, regular("/lib/x")]]))


def test_a_directory_over_a_symlink_is_a_directory_in_layers() -> None:
    found = list(merge([[folder("/"), symlink("/lib", "usr/lib")], [folder("/"), folder("/lib"), regular("/lib/x")]]))
    assert paths(found) == ["/", "/lib", "/lib/x"]
    assert stat.S_ISDIR(found[1].mode)


def test_a_directory_over_a_symlink_is_refused_where_links_are_kept() -> None:
    """A folder of an overlay would hide everything behind the link of a merged /usr: no program could be loaded."""
    base = [folder("/"), symlink("/lib", "usr/lib"), folder("/usr"), folder("/usr/lib"), regular("/usr/lib/ld.so")]
    over = [folder("/"), folder("/lib"), regular("/lib/x")]
    implied = [folder("/"), Entry("/lib", Mark.IMPLIED, 0, 0, {}, None, None, None), regular("/lib/y")]
    for sources in ([base, over], [[folder("/")], base, over], [base, over, implied]):
        with pytest.raises(InputError, match=r"/lib: .* a link to usr/lib[^$]*move its entries to /usr/lib,"):
            list(merge(sources, keep_links=True))
    for upper in ([folder("/"), regular("/lib")], [folder("/"), symlink("/lib", "lib64")]):
        assert paths(merge([base, upper], keep_links=True)) == paths(base)


@pytest.mark.parametrize("upper", [regular("/lib"), symlink("/lib", "usr/lib"), regular("/lib", mode=0)])
def test_a_directory_is_not_lost_below_something_else(upper: Entry) -> None:
    base = [folder("/"), folder("/lib"), regular("/lib/x")]
    with pytest.raises(InputError, match=r"/lib: .* which would be lost[^$]*exclude it"):
        list(merge([base, [folder("/"), upper]], keep_links=True))
    assert paths(merge([base, [folder("/"), upper]])) == ["/", "/lib"]  # in layers, it is meant


@pytest.mark.parametrize(
    "lower",
    [regular("/etc/f"), symlink("/etc/f", "/nowhere"), Entry("/etc/f", stat.S_IFCHR, 0, 0, {}, None, None, None)],
)
def test_a_file_is_not_lost_below_a_directory(lower: Entry) -> None:
    base = [folder("/"), folder("/etc"), lower]
    over = [folder("/"), folder("/etc"), folder("/etc/f"), regular("/etc/f/x")]
    with pytest.raises(InputError, match=r"/etc/f: .* which would be lost[^$]*exclude it"):
        list(merge([base, over], keep_links=True))
    assert paths(merge([base, over])) == paths(over)  # in layers, it is meant


def test_implied_directories_become_real_at_the_end() -> None:
    implied = Entry("/a", Mark.IMPLIED, 7, 7, {}, None, None, None)
    assert list(settled([folder("/"), implied])) == [folder("/"), folder("/a", uid=7)]


def test_a_whiteout_hides_what_lies_under_it_only() -> None:
    gone = Entry("/a", Mark.WHITEOUT, 0, 0, {}, None, None, None)
    lower = [folder("/"), folder("/a"), regular("/a-b"), regular("/a/x")]
    upper = [folder("/"), folder("/a", uid=3), regular("/a/y")]
    assert paths(merge([lower, [folder("/"), gone]])) == ["/", "/a-b"]
    assert paths(merge([lower, [folder("/"), gone], upper])) == ["/", "/a", "/a-b", "/a/y"]
    assert paths(merge([[folder("/"), gone], lower])) == ["/", "/a", "/a-b", "/a/x"]


@pytest.mark.parametrize("mode", [Mark.IMPLIED, stat.S_IFDIR | 0o700])
def test_an_opaque_directory_hides_what_lies_below_it(mode: int) -> None:
    opaque = Entry("/a", mode, 0, 0, {}, OPAQUE, None, None)
    lower = [folder("/"), folder("/a", uid=5), regular("/a-b"), regular("/a/x")]
    found = list(merge([lower, [folder("/"), opaque, regular("/a/y")]]))
    assert paths(found) == ["/", "/a", "/a-b", "/a/y"]
    assert found[1] == (folder("/a", uid=5) if mode == Mark.IMPLIED else folder("/a", mode=0o700))
