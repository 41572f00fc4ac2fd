"""The surroundings of a run: work directory, threads, time, progress.

Paths are relative to the current folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

from otabuild.format import limits
from otabuild.storage import files, fs
from otabuild.storage.seal import Seal, user_key
from otabuild.tally import Tally

if TYPE_CHECKING:
    from otabuild.assembly.store import Environment
    from otabuild.storage.cache import Cache

WORK = os.path.join("build", ".otabuild")
CACHE_LIMIT = 20 * limits.GIB
_TAG = (
    b"Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of otabuild; it can be "
    b"recreated.\n"
)

Progress = Callable[[str, int, int], None]
"""Called with (what is done, bytes done, total bytes or 0 if unknown)."""


def _no_prompt(_what: str) -> bytes:
    raise EOFError


@dataclass(frozen=True)
class Workspace:
    """The surroundings of a run. They do not affect any byte of an image.

    Attributes:
        work: the work directory: cache, stamps, intermediate files.
        now: start of the run in Unix seconds.
        now_ns: the same in nanoseconds.
        workers: number of threads.
        environ: the environment, for keys and passphrases.
        prompt: asks a person for a passphrase.
        warn: called with a message for the user that does not stop the run.
        progress: see Progress.
        pause: called with who prunes a store that is published to; returns whether to look again.
        cache_limit: maximum number of bytes that the work directory keeps for later builds.
        cache_key: returns the key of the seals; called once they are needed.
        secrets: passphrases entered during this run, by what they are for; never shown.
    """

    now_ns: int
    work: str = WORK
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    prompt: Callable[[str], bytes] = _no_prompt
    warn: Callable[[str], None] = lambda _message: None
    progress: Progress = lambda _what, _done, _total: None
    pause: Callable[[str], bool] = lambda _who: False
    cache_limit: int = CACHE_LIMIT
    cache_key: Callable[[], bytes] = field(
        default=lambda: user_key(os.environ), repr=False, compare=False
    )
    secrets: dict[str, bytes] = field(default_factory=dict, repr=False, compare=False)

    @property
    def now(self) -> int:
        """Start of the run in Unix seconds."""
        return self.now_ns // 10**9

    @cached_property
    def seal(self) -> Seal:
        """What shows that this user wrote a record of the work directory."""
        return Seal(self.cache_key())

    @property
    def archives(self) -> str:
        """The folder with the indexes of archives."""
        return os.path.join(self.work, "archives")

    def folder(self, recipe: str) -> str:
        """Return the folder of a recipe's stamps and intermediate files."""
        # A recipe may have any name, also one used in `work`.
        return os.path.join(self.work, "recipes", recipe)

    def prepare(self, recipe: str) -> None:
        """Make the folder of a recipe; have backups and git ignore the work directory."""
        fs.makedirs(self.folder(recipe))
        for name, content in (("CACHEDIR.TAG", _TAG), (".gitignore", b"*\n")):
            path = os.path.join(self.work, name)
            if not os.path.exists(path):
                files.write_file(path, content)

    def open_cache(self) -> Cache:
        """Open the cache of the work directory. Callers hold the lock (storage/lock.py)."""
        from otabuild.storage.cache import Cache  # noqa: PLC0415  (a workspace is made by commands that build nothing, too)

        return Cache(os.path.join(self.work, "cache"), self.seal)

    def environment(self, cache: Cache, what: str, total: int) -> Environment:
        """Return what a build step gets from outside."""
        from otabuild.assembly.store import Environment  # noqa: PLC0415  (as above)

        return Environment(
            cache, self.workers, self.now_ns, Tally(total, partial(self.progress, what)).add
        )
