"""Runs publishers and pruners against one store in memory, each request of theirs a step, in any order that is asked for.

The code of `otabuild.releases` runs as it is, each caller in a greenlet that stops before each request. A world can be
run again and again by the same choices, so all orders can be tried: two prefixes with the same store, in which every
caller has seen the same answers, have the same future, and only one of them is followed.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from greenlet import GreenletExit, getcurrent, greenlet

from otabuild.errors import OtabuildError
from otabuild.releases.layout import ReleaseId, release_file
from otabuild.releases.publish import ReleaseContents
from otabuild.storage.backend import NoSuchFileError
from otabuild.storage.member import Member, document, member_chunks
from otabuild.stores.store import Store, StoreFile


class BrokenError(AssertionError):
    """A release that vehicles see cannot be fetched, or could not be until the grace time was over."""


class Choice(NamedTuple):
    """What happens next: `run` or `kill` an actor, or `tick` of the clock."""

    kind: str
    actor: int = 0


@dataclass
class Made:
    """A release for a model: its name, and what it consists of."""

    name: str
    contents: ReleaseContents

    @cached_property
    def id(self) -> ReleaseId:
        return ReleaseId(self.name, hashlib.sha256(self.contents.index).digest())

    @cached_property
    def last(self) -> str:
        return release_file(self.name, "index.json" if self.contents.token is None else "index.jwt")

    @cached_property
    def files(self) -> dict[str, bytes]:
        """Everything that a vehicle may ask for."""
        found = {member.name: b"".join(member.read()) for member in self.contents.blobs.values()}
        documents = {"index.json": self.contents.index} | (
            {} if self.contents.token is None else {"index.jwt": self.contents.token}
        )
        documents |= {member.name: b"".join(member.read()) for member in self.contents.documents}
        return found | {release_file(self.name, name): content for name, content in documents.items()}


def made(name: str, blobs: str, *, about: str = "", index: bytes | None = None) -> Made:
    """Make a release of blobs of one letter each; it is signed, unless `index` is that of an unsigned image."""
    contents = [letter.encode() for letter in blobs]
    digests = [hashlib.sha256(content).digest() for content in contents]
    members = {
        digest: Member(f"blobs/sha256/{digest.hex()}", 1, lambda content=content: (content,), digest)  # type: ignore[misc]
        for digest, content in zip(digests, contents, strict=True)
    }
    text = index or f"index of {name}{about} with {blobs}".encode()
    token = None if index else b"token of " + text
    return Made(name, ReleaseContents(text, token, members, (document("oci-layout", b"{}"),)))


@dataclass
class Actor:
    """Somebody who runs a command, and runs it again after a kill.

    Attributes:
        act: the command.
        is_publisher: whether the grace time is longer than it runs.
    """

    act: Callable[[Store], object]
    is_publisher: bool
    is_dead: bool = False
    is_done: bool = False
    waits: bool = False
    changes: bool = False
    has_changed: bool = False
    has_begun: bool = False
    seen: int = 0
    result: object = None
    greenlet: Any = None


@dataclass
class World:
    """A store and its actors.

    Attributes:
        known: every release that there may be.
        kills, ticks: how many of them may still happen.
        grace: after how many ticks of the clock a withdrawn release may be removed.
        never_both: whether no release may be both withdrawn and offered, because nobody publishes meanwhile.
        visible: when each release was last offered.
    """

    actors: list[Actor]
    known: Sequence[Made]
    kills: int = 0
    ticks: int = 0
    grace: int = 0
    never_both: bool = False
    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    time: int = 0
    main: greenlet | None = None
    visible: dict[ReleaseId, int] = field(default_factory=dict)

    def begin(self) -> None:
        self.main = getcurrent()
        for actor in self.actors:
            self._start(actor)

    def _start(self, actor: Actor) -> None:
        actor.is_dead = actor.waits = actor.changes = actor.has_changed = actor.has_begun = False
        actor.seen = 0  # a new process remembers nothing
        store = SteppedStore(self, actor)

        def run() -> None:
            try:
                actor.result = actor.act(store)
            except OtabuildError as error:
                actor.result = error
            actor.is_done = True

        actor.greenlet = greenlet(run)
        actor.greenlet.switch()

    def choices(self) -> list[Choice]:
        pruned = any(key.startswith("prune/") for key in self.files)
        alive = [number for number, actor in enumerate(self.actors) if not actor.is_done]
        found = [Choice("run", number) for number in alive if not (self.actors[number].waits and pruned)]
        if self.kills:  # right after it changed something; any other moment is as good as an earlier one
            found += [Choice("kill", number) for number in alive if self.actors[number].has_changed]
        busy = any(actor.is_publisher and actor.has_begun and not actor.is_done for actor in self.actors)
        if self.ticks and not busy:
            found.append(Choice("tick"))
        return found

    def do(self, choice: Choice) -> None:
        actor = self.actors[choice.actor]
        if choice.kind == "tick":
            self.time, self.ticks = self.time + 1, self.ticks - 1
            self._look()
        elif choice.kind == "kill":
            self.kills -= 1
            self.stop(actor)
            self._start(actor)
        else:
            actor.waits, actor.has_begun = False, True
            actor.greenlet.switch()

    @staticmethod
    def stop(actor: Actor) -> None:
        actor.is_dead = True
        actor.greenlet.throw(GreenletExit)

    def end(self) -> None:
        """Let go of every actor that still runs."""
        for actor in self.actors:
            if not actor.is_done:
                self.stop(actor)

    def key(self) -> object:
        """Return what the future depends on."""
        actors = tuple((actor.seen, actor.is_done, actor.waits, actor.has_changed) for actor in self.actors)
        # What was visible long ago does not matter for what may be deleted now.
        visible = tuple(sorted((name, at) for name, at in self.visible.items() if self.time - at < self.grace))
        return frozenset(self.files.items()), self.time, self.kills, self.ticks, actors, visible

    def put(self, key: str, content: bytes) -> None:
        self.files[key] = content, self.time
        self._look()

    def delete(self, key: str) -> None:
        self.files.pop(key, None)
        self._look()

    def _look(self) -> None:
        """Check that every release that is offered, or was within the grace time, is whole."""
        for release in self.known:
            last = self.files.get(release.last)
            if last is not None and last[0] in (release.contents.token, release.contents.index):
                self.visible[release.id] = self.time
                self._check_offered(release)
            if self.time - self.visible.get(release.id, -self.grace) < self.grace:
                for member in release.contents.blobs.values():
                    if member.name not in self.files:
                        raise BrokenError(f"{release.name} was offered just now, and {member.name} is gone")

    def _check_offered(self, release: Made) -> None:
        if self.never_both and release.id.mark in self.files:
            raise BrokenError(f"{release.name} is withdrawn and offered")
        if release.id.claim not in self.files:
            raise BrokenError(f"{release.name} is offered without its claim")
        for key, content in release.files.items():
            if self.files.get(key, (b"", 0))[0] != content:
                raise BrokenError(f"{release.name} is offered without {key}")


class SteppedStore(Store):
    """The store as an actor sees it: each request waits for its turn."""

    def __init__(self, world: World, actor: Actor) -> None:
        super().__init__("memory:")
        self._world, self._actor = world, actor

    def _turn(self) -> None:
        if self._actor.is_dead:
            raise GreenletExit
        self._actor.has_changed, self._actor.changes = self._actor.changes, False
        assert self._world.main is not None
        self._world.main.switch()
        if self._actor.is_dead:
            raise GreenletExit

    def _saw(self, *what: object) -> None:
        self._actor.seen = hash((self._actor.seen, what))

    def put(self, key: str, member: Member) -> None:
        content = b"".join(member_chunks(member))
        self._turn()
        self._world.put(key, content)
        self._saw("put", key)
        self._actor.changes = True

    def delete(self, key: str) -> None:
        self._turn()
        self._world.delete(key)
        self._saw("delete", key)
        self._actor.changes = True

    def stat(self, key: str) -> StoreFile | None:
        self._turn()
        found = self._world.files.get(key)
        self._saw("stat", key, found)
        return None if found is None else StoreFile(key, len(found[0]), found[1])

    def chunks(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        self._turn()
        found = self._world.files.get(key)
        self._saw("chunks", key, found and found[0])
        if found is None:
            raise NoSuchFileError("missing", where=key)
        yield found[0][start:end]

    def files(self, prefix: str) -> Iterator[StoreFile]:
        self._turn()
        found = [
            StoreFile(key, len(content), modified)
            for key, (content, modified) in sorted(self._world.files.items())
            if key.startswith(prefix)
        ]
        self._saw("files", prefix, *found)
        yield from found

    def pause(self, _why: str) -> bool:
        """Wait until nobody prunes."""
        self._actor.waits = True
        self._turn()
        return True

    def close(self) -> None:
        pass


@dataclass
class Explored:
    """What exploring found: how many states and ends there are, and the choices that broke something, if any."""

    states: int = 0
    ends: int = 0
    broken: tuple[str, list[Choice]] | None = None


def explore(
    make: Callable[[], World], finish: Callable[[World], None] = lambda _world: None, *, most: int = sys.maxsize
) -> Explored:
    """Try every order of steps, kills and ticks, or so many states; stop at the first that breaks something."""
    found, seen = Explored(), set[object]()
    todo: list[list[Choice]] = [[]]
    while todo and len(seen) < most:
        path = todo.pop()
        world = make()
        try:
            world.begin()
            for choice in path:
                world.do(choice)
            while (key := world.key()) not in seen:
                seen.add(key)
                choices = world.choices()
                if not choices:
                    found.ends += 1
                    finish(world)
                    break
                todo += [[*path, choice] for choice in choices[1:]]
                path.append(choices[0])
                world.do(choices[0])
        except BrokenError as error:
            found.broken = str(error), path
            break
        finally:
            world.end()
    found.states = len(seen)
    return found


def run_randomly(world: World, seed: int, finish: Callable[[World], None] = lambda _world: None) -> None:
    """Take one order by chance.

    Raises:
        BrokenError: something broke; the message tells the choices.
    """
    chance, path = random.Random(seed), list[Choice]()
    patience = chance.choice([0, 0.5, 0.9])  # so that one of them now and then does much while another is slow
    world.begin()
    try:
        while choices := world.choices():
            runs = [choice for choice in choices if choice.kind == "run"]
            rare = chance.random() < 0.05 or not runs
            same = path[-1:] if path and path[-1] in runs and chance.random() < patience else []
            path.append(chance.choice(choices if rare else same or runs))
            world.do(path[-1])
        finish(world)
    except BrokenError as error:
        raise BrokenError(f"seed {seed}: {error}: {path}") from None
    finally:
        world.end()
