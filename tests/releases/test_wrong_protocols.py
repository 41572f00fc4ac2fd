"""Each step of the protocol is left out, or trades places with its neighbour, and a release breaks."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import NamedTuple

import pytest

from otabuild.errors import OtabuildError
from otabuild.releases import prune as prune_module
from otabuild.releases import publish as publish_module
from otabuild.releases.layout import ReleaseId
from otabuild.releases.prune import Pruned
from tests.releases.scenarios import ALL, LARGE, SCENARIOS
from tests.releases.schedule import World, explore, run_randomly

PUBLISH, PRUNE = publish_module, prune_module
SHARED = "what is published shares blobs with what is pruned"
KILLED = "the pruner is killed"
AGAIN = "the same release again"
RIVALS = "two publish other bytes under one name"
GOES_ON = "an unfinished one goes on"
VEHICLES = "vehicles under way"
OTHERS = "somebody else's is unfinished"
LEFT = "the claim of a rival is left"
TWO_PRUNE = "two prune"
FOUR = "a rival claims, two publish the same, one prunes"


class Change(NamedTuple):
    """A wrong protocol: a function of it in which some code is other code, and the scenario that it breaks."""

    scenario: str
    module: ModuleType
    function: str
    old: str
    new: str = "pass"

    def __str__(self) -> str:
        return f"{self.function}: {self.old.splitlines()[0]} -> {(self.new or 'nothing').splitlines()[0]}"

    def apply(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace the function; the code must be in it just once, so that a change of it is noticed."""
        source = inspect.getsource(getattr(self.module, self.function))
        assert source.count(self.old) == 1, f"{self.old!r} is not in {self.function}"
        made: dict[str, object] = {}
        code = compile(source.replace(self.old, self.new), f"<{self}>", "exec")
        exec(code, vars(self.module), made)
        monkeypatch.setattr(self.module, self.function, made[self.function])


def swapped(scenario: str, module: ModuleType, function: str, *parts: str) -> Change:
    """Return the change that swaps two parts of code; what is between them stays."""
    first, between, second = parts
    return Change(scenario, module, function, f"{first}{between}{second}", f"{second}{between}{first}")


CLAIM = "_claim(store, release, contents, pause)"
MISSING = "missing = _missing(store, contents, was_claimed=was_claimed, workers=workers)"
UPLOAD = "_upload(store, missing, workers, progress)"
DOCUMENTS = "_put_all(store, release, contents.documents, workers)"
PUT_INDEX = "store.put(release_file(name, INDEX), document(INDEX, contents.index))"
PUT_TOKEN = """if contents.token is not None:
        store.put(release_file(name, TOKEN), document(TOKEN, contents.token))"""
FORGET = "store.delete(release.mark)"
PUT_CLAIM = "store.put(release.claim, document(release.claim, claim))"
LOOK = "at_work = pruners(store)"
STILL_THERE = "elif _check_rivals(store, release):"
HIDE = """if release.head.last is not None and release.published is not None:
            store.delete(release.head.last.key)"""
MARK = 'store.put(release.id.mark, document(release.id.mark, f"{since}\\n".encode()))'
ANNOUNCE = 'store.put(key, document(key, f"{about}\\n".encode()))'
SWEEP = "done = _sweep(store, pruning, key, workers)"
LOOK_AROUND = """started = [file.modified for file in store.files(PRUNERS) if file.key == key]
    found = survey(store, workers)"""
LOOK_FIRST = """store.delete(key)
    found = survey(store, workers)
    store.put(key, document(key, b"me"))
    started = [file.modified for file in store.files(PRUNERS) if file.key == key]"""

WRONG = [
    Change(SHARED, PUBLISH, "publish", CLAIM),
    Change(SHARED, PUBLISH, "publish", UPLOAD),
    Change(SHARED, PUBLISH, "publish", DOCUMENTS),
    Change(SHARED, PUBLISH, "publish", PUT_INDEX),
    swapped(SHARED, PUBLISH, "publish", CLAIM, "\n    ", MISSING),
    swapped(KILLED, PUBLISH, "publish", f"{UPLOAD}\n    {DOCUMENTS}", "\n    ", PUT_INDEX),
    swapped(KILLED, PUBLISH, "publish", DOCUMENTS, "\n    ", PUT_INDEX),
    swapped(SHARED, PUBLISH, "publish", PUT_INDEX, "\n    ", PUT_TOKEN),
    Change(AGAIN, PUBLISH, "_claim", FORGET),
    Change(SHARED, PUBLISH, "_claim", PUT_CLAIM, PUT_CLAIM.replace("claim))", 'b""))')),
    Change(SHARED, PUBLISH, "_claim", LOOK, "at_work = ()"),
    Change(AGAIN, PUBLISH, "_claim", "pause)\n        elif", "pause)\n            return\n        elif"),
    swapped(
        SHARED,
        PUBLISH,
        "_claim",
        PUT_CLAIM,
        "\n        ",
        "if not store.can_list:\n            return\n        " + LOOK,
    ),
    Change(RIVALS, PUBLISH, "_claim", STILL_THERE, "elif True:"),
    Change(GOES_ON, PUBLISH, "_claim", STILL_THERE, "elif _check_rivals(store, release) or True:"),
    Change(OTHERS, PUBLISH, "held_blobs", "if release.state is State.PUBLISHED", ""),
    Change(
        FOUR,
        PUBLISH,
        "_check_rivals",
        "            raise",
        "            store.delete(release.claim)\n            raise",
    ),
    Change(VEHICLES, PRUNE, "withdraw", HIDE),
    Change(VEHICLES, PRUNE, "withdraw", MARK),
    swapped(VEHICLES, PRUNE, "withdraw", HIDE, "\n        ", MARK),
    Change(SHARED, PRUNE, "prune", ANNOUNCE),
    Change(TWO_PRUNE, PRUNE, "prune", 'f"{PRUNERS}{pruner}"', 'f"{PRUNERS}all"'),
    Change(SHARED, PRUNE, "prune", SWEEP, f"store.delete(key)\n        {SWEEP}"),
    Change(SHARED, PRUNE, "_sweep", LOOK_AROUND, LOOK_FIRST),
    Change(VEHICLES, PRUNE, "_is_over", "now - release.withdrawn >= pruning.grace", "True"),
    Change(GOES_ON, PRUNE, "_is_over", "now - release.claimed >= pruning.grace", "True"),
    Change(LEFT, PRUNE, "_is_over", "release.state is State.UNFINISHED", "True"),
    Change(SHARED, PRUNE, "_unclaimed", "release.id not in gone", "release.state is State.PUBLISHED"),
    Change(LEFT, PRUNE, "_remove", "if release.id.name not in in_use:", "if True:"),
    Change(SHARED, PRUNE, "_remove", "store.delete(release.id.mark)"),
    Change(SHARED, PRUNE, "_remove", "store.delete(release.id.claim)"),
]
"""Each step left out, and each pair of steps swapped whose order matters.

Documents and blobs may be uploaded in any order before index.json, and a mark be removed before or after the claim,
as both come before the look for pruners.
"""


def end_well(world: World) -> None:
    """Check that what was withdrawn or removed is just that, unless it was published again."""
    for actor in world.actors:
        if isinstance(actor.result, Pruned):
            for id_ in actor.result.withdrawn:
                assert id_.claim not in world.files or id_.mark in world.files or offered(world, id_), "not withdrawn"
            for id_ in actor.result.removed:
                assert {id_.claim, id_.mark}.isdisjoint(world.files) or offered(world, id_), "not removed"


def offered(world: World, id_: ReleaseId) -> bool:
    return any(one.id == id_ and one.last in world.files for one in ALL)


def breaks(name: str) -> str | None:
    """Return how a scenario breaks, if it does: some orders by chance first, then every order of the small ones."""
    try:
        for seed in range(400):
            run_randomly((SCENARIOS | LARGE)[name]._replace(kills=0).world(), seed, end_well)
        found = explore(SCENARIOS[name]._replace(kills=0).world, end_well)
    except (AssertionError, OtabuildError) as error:
        return str(error)
    return found.broken and found.broken[0]


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_a_wrong_protocol_breaks(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    change.apply(monkeypatch)
    assert breaks(change.scenario)
