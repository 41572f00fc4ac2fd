"""A proxy between otabuild and a server, which does to the answers what networks and strangers do to them.

A test sets `FaultProxy.fault`; the proxy forwards each request and lets the fault send the answer.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_BLOCK = 64 << 10
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class Answer:
    """What the server answered; `length` is what the proxy says of the body, which may be a lie, or nothing (None)."""

    status: int
    headers: dict[str, str]
    body: bytes
    length: int | None


class Exchange:
    """A request, and the means to answer it."""

    def __init__(self, handler: BaseHTTPRequestHandler, upstream: str, body: bytes) -> None:
        self._handler, self._upstream, self._body = handler, urlsplit(upstream), body
        self.method, self.path = handler.command, handler.path
        self.headers = dict(handler.headers.items())

    def forward(self) -> Answer:
        """Ask the server."""
        connection = HTTPConnection(self._upstream.hostname or "", self._upstream.port, timeout=60)
        try:
            connection.request(self.method, self.path, self._body or None, self.headers)
            response = connection.getresponse()
            body = response.read()
            headers = {name: value for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP}
            length = response.getheader("Content-Length")
            return Answer(response.status, headers, body, int(length) if length else len(body))
        finally:
            connection.close()

    def begin(self, answer: Answer) -> None:
        """Send status and headers."""
        self._handler.send_response(answer.status)
        for name, value in answer.headers.items():
            self._handler.send_header(name, value)
        if answer.length is not None:
            self._handler.send_header("Content-Length", str(answer.length))
        self._handler.end_headers()

    def send(self, content: bytes) -> None:
        """Send bytes."""
        self._handler.wfile.write(content)
        self._handler.wfile.flush()

    def end(self, *, reset: bool = False) -> None:
        """End the connection, properly or not."""
        self._handler.close_connection = True
        if reset:
            self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._handler.connection.close()


Fault = Callable[[Exchange], None]


def pass_on(exchange: Exchange) -> None:
    """No fault."""
    answer = exchange.forward()
    exchange.begin(answer)
    exchange.send(answer.body)


def resets(every: int = _BLOCK) -> Fault:
    """Reset the connection whenever so many bytes of a body were sent."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.begin(answer)
        exchange.send(answer.body[:every])
        if len(answer.body) > every:
            time.sleep(0.02)  # a reset throws away what the other side did not read yet
            exchange.end(reset=True)

    return fault


def ends_early(at: int) -> Fault:
    """Close the connection after so many bytes, although more were promised."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.begin(answer)
        exchange.send(answer.body[:at])
        if len(answer.body) > at:
            exchange.end()

    return fault


def drops(exchange: Exchange) -> None:
    """Reset the connection instead of an answer."""
    exchange.end(reset=True)


def drops_some(times: int) -> Fault:
    """Reset the connection instead of the next answers, as while a server starts again."""
    left = iter(range(times))

    def fault(exchange: Exchange) -> None:
        (pass_on if next(left, None) is None else drops)(exchange)

    return fault


def fails(status: int, *, times: int | None = None) -> Fault:
    """Answer with an error, the first `times` times that a path is asked for, or always."""
    left: dict[str, int] = {}

    def fault(exchange: Exchange) -> None:
        seen = left.setdefault(exchange.path, 0)
        left[exchange.path] += 1
        if times is not None and seen >= times:
            pass_on(exchange)
            return
        body = b"<html>no</html>"
        exchange.begin(Answer(status, {"Content-Type": "text/html"}, body, len(body)))
        exchange.send(body if exchange.method != "HEAD" else b"")

    return fault


def waits(seconds: float) -> Fault:
    """Answer late."""

    def fault(exchange: Exchange) -> None:
        time.sleep(seconds)
        pass_on(exchange)

    return fault


def limits(rate: int) -> Fault:
    """Send at most so many bytes a second."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.begin(answer)
        for at in range(0, len(answer.body), max(1, rate // 10)):
            exchange.send(answer.body[at : at + max(1, rate // 10)])
            time.sleep(0.1)

    return fault


def gathers(count: int) -> Fault:
    """Send blobs when so many requests are under way at once; who asks for one after the other gets none."""
    barrier = threading.Barrier(count, timeout=30)

    def fault(exchange: Exchange) -> None:
        try:
            if "/blobs/" in exchange.path:
                barrier.wait()
        except threading.BrokenBarrierError:
            fails(404)(exchange)
        else:
            pass_on(exchange)

    return fault


def slow_line(latency: float, rate: int) -> Fault:
    """Be a line that all connections share: each answer comes late, and so many bytes a second come in all."""
    lock, free = threading.Lock(), [0.0]

    def fault(exchange: Exchange) -> None:
        time.sleep(latency)
        answer = exchange.forward()
        exchange.begin(answer)
        for at in range(0, len(answer.body), _BLOCK // 4):
            part = answer.body[at : at + _BLOCK // 4]
            with lock:
                free[0] = sent = max(free[0], time.monotonic()) + len(part) / rate
            time.sleep(max(0.0, sent - time.monotonic()))
            exchange.send(part)

    return fault


def ignores_ranges(exchange: Exchange) -> None:
    """Send the whole file, whatever part of it was asked for."""
    exchange.headers = {name: value for name, value in exchange.headers.items() if name.lower() != "range"}
    pass_on(exchange)


def changes(change: Callable[[Answer], None]) -> Fault:
    """Change an answer that has a body."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.forward()
        if answer.body and answer.status in (200, 206):
            change(answer)
        exchange.begin(answer)
        exchange.send(answer.body)

    return fault


def shorter(answer: Answer) -> None:
    """Leave the last byte out, and say so."""
    answer.body = answer.body[:-1]
    answer.length = len(answer.body)
    _tell_range(answer, -1)


def longer(answer: Answer) -> None:
    """Add a byte, and say so."""
    answer.body += b"\0"
    answer.length = len(answer.body)
    _tell_range(answer, +1)


def _tell_range(answer: Answer, more: int) -> None:
    for name, value in answer.headers.items():
        if name.lower() == "content-range" and (found := re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", value)):
            start, end, size = map(int, found.groups())
            answer.headers[name] = f"bytes {start}-{end + more}/{size + more}"


def wrong_byte(answer: Answer) -> None:
    """Change the byte in the middle."""
    middle = len(answer.body) // 2
    answer.body = answer.body[:middle] + bytes([answer.body[middle] ^ 1]) + answer.body[middle + 1 :]


def endless(*, length: int | None) -> Fault:
    """Send zeros until the other side hangs up; promise so many bytes, or none."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.forward()
        if exchange.method != "GET" or answer.status not in (200, 206):
            exchange.begin(answer)
            exchange.send(answer.body)
            return
        answer.status, answer.length = 200, length
        answer.headers.pop("Content-Range", None)
        exchange.begin(answer)
        while True:
            exchange.send(bytes(_BLOCK))

    return fault


def trickles(exchange: Exchange) -> None:
    """Send one byte at a time, so that something always comes, and next to nothing."""
    answer = exchange.forward()
    exchange.begin(answer)
    for byte in answer.body:
        exchange.send(bytes([byte]))
        time.sleep(0.2)


def stalls(exchange: Exchange) -> None:
    """Send half of the body, and then nothing."""
    answer = exchange.forward()
    exchange.begin(answer)
    exchange.send(answer.body[: len(answer.body) // 2])
    time.sleep(15)


def talks_nonsense(exchange: Exchange) -> None:
    """Answer in another protocol."""
    exchange.send(b"220 mail.example ready\r\n")
    exchange.end()


@dataclass
class FaultProxy:
    """A running proxy.

    Attributes:
        address: its URL.
        fault: what is done to the answers.
        after: how many requests are answered properly before.
        seen: method and path of each request.
    """

    address: str
    fault: Fault = pass_on
    after: int = 0
    seen: list[str] = field(default_factory=list)


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """Run a proxy in front of a server until the block ends."""
    proxy = FaultProxy("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # the other side hung up, as it may
                self.close_connection = True

        def do_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            exchange = Exchange(self, upstream, body)
            proxy.seen.append(f"{exchange.method} {exchange.path}")
            (proxy.fault if len(proxy.seen) > proxy.after else pass_on)(exchange)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PROPFIND = do_MKCOL = do_request  # noqa: N815 -- their names

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 64

        def handle_error(self, *_args: object) -> None:
            """A connection that broke off is what the proxy is for."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    proxy.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
