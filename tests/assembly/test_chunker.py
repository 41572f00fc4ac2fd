"""Bundles are cut by what is in them: an insertion moves one bundle, whatever lies before and after."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otabuild.assembly import chunker
from otabuild.assembly.chunker import Chunker
from otabuild.assembly.plan import PROFILES, StoragePlan

Content = tuple[str, int]
"""Path and size in bytes."""


def bundles(contents: Sequence[Content], plan: StoragePlan) -> list[tuple[Content, ...]]:
    cutter, found = Chunker(plan), list[list[Content]]()
    for path, size in sorted(contents):
        if cutter.starts_new(path, size) or not found:
            found.append([])
        found[-1].append((path, size))
    return [tuple(bundle) for bundle in found]


def tree(seed: int) -> list[Content]:
    choose = random.Random(seed)
    return [(f"/usr/lib/{choose.randrange(40)}/{n}", choose.randrange(65, 8000)) for n in range(2000)]


@pytest.mark.parametrize("profile", ["update", "size"])
@pytest.mark.parametrize("seed", range(5))
def test_an_insertion_moves_one_bundle(profile: str, seed: int) -> None:
    plan = replace(PROFILES[profile], bundle_max=1 << 40)
    before = tree(seed)
    old = set(bundles(before, plan))
    for number in range(50):
        new = (f"/usr/lib/{number % 40}/new{number}", 100 + number * 7)
        after = set(bundles([*before, new], plan))
        assert len(old - after) <= 1
        assert len(after - old) <= 2


def test_no_bundle_is_larger_than_the_plan_allows() -> None:
    for profile, plan in PROFILES.items():
        small = replace(plan, bundle_max=64 << 10)
        for bundle in bundles(tree(1), small):
            assert sum(size for _, size in bundle) <= small.bundle_max, profile


def test_the_average_is_near_what_the_plan_says() -> None:
    plan = replace(PROFILES["update"], folder_share=0)
    contents = [content for seed in range(20) for content in tree(seed)]
    found = bundles([(f"/{n}{path}", size) for n, (path, size) in enumerate(contents)], plan)
    average = sum(size for _, size in contents) / len(found)
    assert plan.bundle_size / 2 < average < plan.bundle_size * 1.5


def test_only_the_first_of_a_folder_is_cut_by_the_name_of_the_folder() -> None:
    plan = replace(PROFILES["update"], folder_share=1, bundle_size=1 << 40, bundle_max=1 << 40)
    contents = [(f"/{folder}/{name}", 100) for folder in "abc" for name in range(5)]
    assert [{path[:3] for path, _ in bundle} for bundle in bundles(contents, plan)] == [{"/a/"}, {"/b/"}, {"/c/"}]


def test_the_reference_profile_cuts_by_size_alone() -> None:
    plan = replace(PROFILES["reference"], bundle_max=1000)
    assert [len(bundle) for bundle in bundles([(f"/{n:03}", 300) for n in range(10)], plan)] == [3, 3, 3, 1]


def test_a_bundle_is_as_large_as_allowed_to_the_byte() -> None:
    plan = replace(PROFILES["reference"], bundle_max=1000)
    assert [len(bundle) for bundle in bundles([("/a", 400), ("/b", 600), ("/c", 1)], plan)] == [2, 1]


_PATHS = st.text("abc/", min_size=1, max_size=8).map(lambda text: f"/{text}")
_TREES = st.dictionaries(_PATHS, st.integers(65, 60_000), min_size=1, max_size=60)


@given(_TREES, _PATHS, st.integers(65, 60_000))
def test_an_insertion_anywhere_moves_one_bundle(files: dict[str, int], path: str, size: int) -> None:
    plan = replace(PROFILES["update"], bundle_max=1 << 40)
    before = set(bundles(list({**files}.items() - {(path, files.get(path))}), plan))
    after = set(bundles(list({**files, path: size}.items()), plan))
    assert len(before - after) <= 1 + _starts_another_folder(files, path)
    assert len(after - before) <= 2 + _starts_another_folder(files, path)


def _starts_another_folder(files: dict[str, int], path: str) -> int:
    """An insertion between two members of one folder makes the second of them the first of its folder again."""
    folder = path.rpartition("/")[0]
    after = next((other for other in sorted(files) if other > path), None)
    return int(after is not None and after.rpartition("/")[0] != folder)


def _share(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def _named(low: float, high: float) -> str:
    return next(name for name in (f"/x/{n}" for n in range(10_000)) if low <= _share(name) < high)


def test_a_member_is_cut_off_by_its_name_as_often_as_its_size_asks() -> None:
    plan = replace(PROFILES["update"], folder_share=0, bundle_size=1000, bundle_max=1 << 40)
    for name, size, cut in [
        (_named(0.09, 0.1), 100, True),
        (_named(0.1, 0.11), 100, False),
        (_named(0.1, 0.11), 110, True),
    ]:
        chunker = Chunker(plan)
        chunker.starts_new("/x/first", 10)
        assert chunker.starts_new(name, size) is cut


def test_a_folder_is_cut_off_by_its_name_as_often_as_the_plan_says() -> None:
    plan = replace(PROFILES["update"], folder_share=0.25, bundle_size=1 << 60, bundle_max=1 << 40)
    for folder, cut in [(_named(0.24, 0.25), True), (_named(0.25, 0.26), False)]:
        chunker = Chunker(plan)
        chunker.starts_new("/a", 10)
        assert chunker.starts_new(f"{folder}/file", 100) is cut


def test_without_cutting_by_name_no_name_cuts() -> None:
    plan = replace(PROFILES["update"], folder_share=1, bundle_size=1, bundle_max=1 << 40)
    contents = [("/a/1", 100), ("/b/1", 100), ("/b/2", 100)]
    assert [len(bundle) for bundle in bundles(contents, plan)] == [1, 1, 1]
    assert [len(bundle) for bundle in bundles(contents, replace(plan, cut_by_name=False))] == [3]


def test_the_first_content_never_starts_a_second_bundle() -> None:
    plan = replace(PROFILES["update"], folder_share=1, bundle_size=1, bundle_max=1)
    assert Chunker(plan).starts_new("/a/b", 100) is False


def test_a_content_of_one_byte_counts() -> None:
    chunker = Chunker(replace(PROFILES["reference"], bundle_max=1))
    chunker.starts_new("/a", 1)
    assert chunker.starts_new("/b", 1) is True


def test_after_a_cut_the_bundle_has_the_size_of_its_first_member() -> None:
    chunker = Chunker(replace(PROFILES["reference"], bundle_max=1000))
    assert [chunker.starts_new(f"/{n}", size) for n, size in enumerate([900, 600, 400, 1])] == [
        False,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(("less", "cut"), [(0, False), (1, True)])
def test_a_name_at_its_bound_cuts_nothing(monkeypatch: pytest.MonkeyPatch, less: int, cut: bool) -> None:
    monkeypatch.setattr(chunker, "_share", lambda _name: (1 << 62) - less)
    plan = replace(PROFILES["update"], folder_share=1 / 4, bundle_size=1 << 16, bundle_max=1 << 30)
    by_folder, by_size = Chunker(plan), Chunker(plan)
    assert not by_folder.starts_new("/a/1", 1)  # nothing is before it
    assert by_folder.starts_new("/b/1", 0) is cut
    assert not by_size.starts_new("/a/1", 1)
    assert by_size.starts_new("/a/2", 1 << 14) is cut
