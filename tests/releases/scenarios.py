"""What publishers and pruners may do at the same time: the releases, the actors, and the scenarios of the protocol."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from otabuild.format import annotations as ann
from otabuild.format.digest import Descriptor
from otabuild.format.index import Index
from otabuild.format.media_types import RESOURCE_TABLE
from otabuild.releases import prune as prune_module
from otabuild.releases import publish as publish_module
from otabuild.releases.layout import print_claim
from otabuild.releases.prune import Pruning
from otabuild.storage.member import document
from otabuild.stores.store import Store
from tests.releases import schedule
from tests.releases.schedule import Actor, Made, World, made

FIRST, SECOND, THIRD = made("1", "ab"), made("2", "bc"), made("3", "ac")
OTHER = made("1", "ad", about=", built anew")
UNSIGNED = made(
    "4",
    "b",
    index=Index(manifests=(Descriptor.of(b"b", RESOURCE_TABLE),), annotations={ann.BUILDER_VERSION: "1"}).to_json(),
)
ALL = (FIRST, SECOND, THIRD, OTHER, UNSIGNED)
NOW = Pruning(grace=0)
"""Withdrawn releases are removed at once."""
LATER = Pruning(grace=1)


def publisher(release: Made) -> Actor:
    def act(store: Store) -> object:
        pause = store.pause if isinstance(store, schedule.SteppedStore) else lambda _why: False
        return publish_module.publish(store, release.name, release.contents, workers=1, pause=pause)

    return Actor(act, is_publisher=True)


def pruner(pruning: Pruning, id_: str = "p") -> Actor:
    """Return a pruner that first removes what is left of itself after a kill."""

    def act(store: Store) -> object:
        store.delete(f"prune/{id_}")
        return prune_module.prune(store, pruning, id_, "me", "now", workers=1)

    return Actor(act, is_publisher=False)


class Scenario(NamedTuple):
    """What happened before, who acts now, and how many kills and ticks there may be."""

    actors: tuple[Callable[[], Actor], ...]
    before: tuple[Callable[[], Actor], ...] = ()
    ticks_before: int = 0
    kills: int = 0
    ticks: int = 0
    grace: int = 0
    never_both: bool = False

    def world(self) -> World:
        known = [*ALL]
        world = World([make() for make in self.actors], known, self.kills, self.ticks, self.grace, self.never_both)
        for make in self.before:
            earlier = World([make()], known, files=world.files, visible=world.visible)
            earlier.begin()
            while choices := earlier.choices():
                earlier.do(choices[0])
            assert not isinstance(earlier.actors[0].result, Exception), earlier.actors[0].result
        world.time = self.ticks_before
        return world


def publishing(release: Made) -> Callable[[], Actor]:
    return partial(publisher, release)


def pruning(told: Pruning, id_: str = "p") -> Callable[[], Actor]:
    return partial(pruner, told, id_)


def claiming(release: Made) -> Callable[[], Actor]:
    """Return a publisher that is killed after its claim, and does not come back."""

    def act(store: Store) -> object:
        store.put(release.id.claim, document("", print_claim(release.contents.total)))
        return None

    return lambda: Actor(act, is_publisher=True)


WITHDRAW_1 = ("1",)
SCENARIOS = {
    "what is published shares blobs with what is pruned": Scenario(
        (publishing(SECOND), pruning(NOW._replace(names=WITHDRAW_1))), (publishing(FIRST),)
    ),
    "the pruner is killed": Scenario(
        (publishing(THIRD), pruning(NOW._replace(names=("4",)))), (publishing(UNSIGNED),), kills=1
    ),
    "the same release again": Scenario(
        (publishing(FIRST), pruning(LATER)),
        (publishing(FIRST), pruning(LATER._replace(names=WITHDRAW_1))),
        ticks_before=1,
        grace=1,
    ),
    "two publish the same": Scenario((publishing(FIRST), publishing(FIRST)), kills=1),
    "two publish other bytes under one name": Scenario((publishing(FIRST), publishing(OTHER)), kills=1),
    "an unfinished one goes on": Scenario(
        (publishing(FIRST), pruning(LATER._replace(unfinished=True))), (claiming(FIRST),), ticks_before=1, grace=1
    ),
    "vehicles under way": Scenario(
        (pruning(LATER._replace(names=WITHDRAW_1)),), (publishing(FIRST),), kills=2, ticks=3, grace=1, never_both=True
    ),
    "somebody else's is unfinished": Scenario((publishing(SECOND), publishing(FIRST)), (claiming(FIRST),)),
    "the claim of a rival is left": Scenario(
        (publishing(FIRST), pruning(NOW._replace(unfinished=True))), (publishing(FIRST), claiming(OTHER))
    ),
    "an unsigned one": Scenario((publishing(UNSIGNED), pruning(NOW._replace(names=WITHDRAW_1))), (publishing(FIRST),)),
}

LARGE = {
    "two prune": Scenario(
        (publishing(SECOND), pruning(NOW._replace(names=WITHDRAW_1), "p"), pruning(NOW, "q")), (publishing(FIRST),)
    ),
    "a rival claims, two publish the same, one prunes": Scenario(
        (publishing(FIRST), publishing(FIRST), claiming(OTHER), pruning(NOW))
    ),
}
"""Scenarios of which CI tries every order only until something breaks, if something is wrong."""
