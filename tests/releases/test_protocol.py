"""No release that vehicles see ever lacks a file: publishers, pruners and kills in every order, and at random.

Scenarios of two actors are tried in every order, with kills; a crowd, by chance. test_wrong_protocols.py shows that each
step matters.
"""

from __future__ import annotations

import pytest

from tests.releases.scenarios import (
    ALL,
    FIRST,
    LATER,
    NOW,
    OTHER,
    SCENARIOS,
    SECOND,
    THIRD,
    UNSIGNED,
    WITHDRAW_1,
    Scenario,
    pruning,
    publishing,
)
from tests.releases.schedule import Explored, World, explore, run_randomly


def found_in(scenario: Scenario, kills: int) -> Explored:
    return explore(scenario._replace(kills=kills).world)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_order(name: str) -> None:
    found = found_in(SCENARIOS[name], kills=0)
    assert found.broken is None
    assert found.ends >= 1


@pytest.mark.sweep
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_order_with_a_kill_after_every_change(name: str) -> None:
    found = found_in(SCENARIOS[name], kills=max(1, SCENARIOS[name].kills))
    assert found.broken is None
    assert found.states > 200


CROWD = Scenario(
    (
        publishing(SECOND),
        publishing(THIRD),
        publishing(FIRST),
        publishing(OTHER),
        pruning(NOW._replace(names=("4",)), "p"),
        pruning(LATER._replace(keep=1), "q"),
    ),
    (publishing(UNSIGNED), publishing(FIRST), pruning(LATER._replace(names=WITHDRAW_1))),
    ticks_before=1,
    kills=2,
)
"""Publishers of new releases, of a withdrawn one and of a rival of it, and two pruners."""


def tidy(world: World) -> None:
    """Check that whoever comes later can finish the work: nothing but what is published is left."""
    for act in (pruning(NOW._replace(unfinished=True), "p"), pruning(NOW._replace(unfinished=True), "q")):
        later = World([act()], world.known, files=world.files, time=world.time)
        later.begin()
        while choices := later.choices():
            later.do(choices[0])
        assert not isinstance(later.actors[0].result, Exception), later.actors[0].result
    offered = [one for one in ALL if world.files.get(one.last, (b"",))[0] in (one.contents.token, one.contents.index)]
    expected = {key for one in offered for key in (*one.files, one.id.claim)}
    assert {*world.files} == expected


def run_crowd(seeds: range) -> None:
    for seed in seeds:
        run_randomly(CROWD.world(), seed, tidy)


def test_a_crowd_in_some_orders() -> None:
    run_crowd(range(300))


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(100))
def test_a_crowd_in_a_hundred_thousand_orders(part: int) -> None:
    run_crowd(range(1000 * part, 1000 * (part + 1)))
