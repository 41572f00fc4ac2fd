"""Runs commands in forks of one process that has imported what they need: the imports are most of a short run.

A fork has the arguments, environment, folder, umask and streams of its own that a new process would have. What an
interpreter decides when it starts (locale, encoding, hash seed, warnings) is that of the first process: a command whose
environment says something about that needs a new process, see `Project.run`.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import runpy
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

LIBRARIES = (
    "cryptography.x509",
    "doit.doit_cmd",
    "jwt",
    "msgpack",
    "otabuild.cli",
    "otabuild.driver",
    "sqlite3",
    "zstandard",
)
"""What is imported once. None of it keeps anything of the run: `rootfs.tar_source`, which does, is not among it."""
_MESSAGE = 1 << 18
_ROOT = Path(__file__).parent.parent.parent


class Outcome(NamedTuple):
    """How a command ended, as of `subprocess.run`."""

    code: int
    out: str
    err: str


class Warm:
    """A process that runs one command after the other."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            fd = theirs.fileno()
            command = [sys.executable, "-m", __name__, str(fd)]
            self._process = subprocess.Popen(command, cwd=_ROOT, env={**env}, pass_fds=[fd])

    def run(
        self, command: Sequence[str], *, cwd: str, env: Mapping[str, str], umask: int = -1, seconds: float
    ) -> Outcome:
        """Run a command: `-m` and a module, or a script, and its arguments.

        Raises:
            subprocess.TimeoutExpired: it took longer than that many seconds.
        """
        streams = [os.pipe(), os.pipe()]
        with open(os.devnull, "rb") as nothing:
            request = json.dumps({"command": command, "cwd": cwd, "env": {**env}, "umask": umask}).encode()
            socket.send_fds(self._socket, [request], [nothing.fileno(), *(theirs for _, theirs in streams)])
        for _, theirs in streams:
            os.close(theirs)
        out, err = self._read([ours for ours, _ in streams], command, seconds)
        return Outcome(int(self._socket.recv(16)), out, err)

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.wait()

    def _read(self, streams: Sequence[int], command: Sequence[str], seconds: float) -> tuple[str, str]:
        found: dict[int, list[bytes]] = {fd: [] for fd in streams}
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            for fd in streams:
                selector.register(fd, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                    part = os.read(key.fd, 1 << 16)
                    found[key.fd].append(part)
                    if not part:
                        selector.unregister(key.fd)
                        os.close(key.fd)
                if time.monotonic() > deadline:
                    self._process.kill()
                    raise subprocess.TimeoutExpired(list(command), seconds)
        out, err = (io.TextIOWrapper(io.BytesIO(b"".join(parts))).read() for parts in found.values())
        return out, err


def _serve(control: socket.socket) -> list[str]:
    """Fork for each request; return only in a fork, with the command to run."""
    while True:
        request, fds, _, _ = socket.recv_fds(control, _MESSAGE, 3)
        if not request:
            sys.exit(0)
        child = os.fork()
        if child == 0:
            control.close()
            return _become(json.loads(request), fds)
        for fd in fds:
            os.close(fd)
        _, status = os.waitpid(child, 0)
        control.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(request: Mapping[str, object], fds: Sequence[int]) -> list[str]:
    command, env = request["command"], request["env"]
    assert isinstance(command, list)
    assert isinstance(env, dict)
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(str(request["cwd"]))
    if request["umask"] != -1:
        os.umask(int(str(request["umask"])))
    sys.stdin = _stream(0, "r", sys.stdin)
    sys.stdout, sys.stderr = _stream(1, "w", sys.stdout), _stream(2, "w", sys.stderr)
    sys.orig_argv = [sys.executable, *command]
    return command


def _stream(fd: int, mode: str, like: TextIO) -> TextIO:
    """Open a standard stream as Python does when it starts."""
    buffering = 1 if like is sys.stderr else -1
    stream = open(fd, mode, buffering, encoding=like.encoding, errors=like.errors, closefd=False)  # noqa: SIM115
    assert isinstance(stream, io.TextIOWrapper)
    return stream


def _main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in LIBRARIES:
        importlib.import_module(name)
    assert "otabuild.rootfs.tar_source" not in sys.modules
    gc.freeze()
    command = _serve(control)
    if command[0] == "-m":
        sys.argv = command[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        sys.path[0] = os.path.dirname(os.path.abspath(command[0]))
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    _main()
