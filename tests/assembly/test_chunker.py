"""Bundles are cut by what is in them: an insertion moves one bundle, whatever lies before and after."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from otabuild.assembly.chunker import Chunker
from otabuild.assembly.plan import PROFILES, StoragePlan

Content = tuple[str, int]
"""Path and size in bytes."""


def bundles(contents: Sequence[Content], plan: StoragePlan) -> list[tuple[Content, ...]]:
    chunker, found = Chunker(plan), list[list[Content]]()
    for path, size in sorted(contents):
        if chunker.starts_new(path, size) or not found:
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
