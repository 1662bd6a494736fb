"""A web server on this machine that behaves as a test asks: well, or in the ways servers fail.

`serving(content, **how)` is a context manager that gives a `Served`: its `url`, and in `asked` the
path and Range of every request. `how`: `drops` (a list: how many bytes each of the first requests
gets before the connection is cut), `ranges` (False: Range is ignored), `etag`, `stall_s` (pause
before the body), `drip` (bytes at a time, `drip_s` apart), `extra` (bytes beyond the stated
length), `chunked` (no length is stated), `status` (for every request), `statuses` (for the first
ones), `redirects` (how many hops before the file), `wrong_range` (a part other than asked for).
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Served:
    """One server and what it was asked."""

    url: str
    how: dict[str, Any]
    content: bytes
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def serving(content: bytes, **how: Any) -> Iterator[Served]:
    """A server for the time of a `with` block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    served = Served(f"http://127.0.0.1:{server.server_port}/models/given.zip", how, content)
    server.served = served  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        served: Served = self.server.served  # type: ignore[attr-defined]
        how, wanted = served.how, self.headers.get("Range", "")
        served.asked.append((self.path, wanted))
        number = len(served.asked) - 1
        statuses = how.get("statuses", [])
        status = statuses[number] if number < len(statuses) else how.get("status", 200)
        if status != 200:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        hop = int(self.path.partition("?hop=")[2] or 0)
        if hop < how.get("redirects", 0):
            self._redirect(how.get("to", f"{served.url}?hop={hop + 1}"))
            return
        self._send(served, wanted, number)

    def _redirect(self, url: str) -> None:
        self.send_response(302)
        self.send_header("Location", url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, served: Served, wanted: str, number: int) -> None:
        how, content = served.how, served.content
        start = 0
        same = self.headers.get("If-Range", "") == how.get("etag", '"one"')
        if wanted and how.get("ranges", True) and same:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            start += 7 if how.get("wrong_range") else 0
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("ETag", how.get("etag", '"one"'))
        body = content[start:] + b"x" * how.get("extra", 0)
        if how.get("chunked"):
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        time.sleep(how.get("stall_s", 0))
        self._write(body, how, number)

    def _write(self, body: bytes, how: dict[str, Any], number: int) -> None:
        drops = how.get("drops", [])
        sent = body[: drops[number]] if number < len(drops) else body
        step = how.get("drip") or max(1, len(sent))
        try:
            for place in range(0, len(sent), step):
                part = sent[place : place + step]
                framed = b"%x\r\n%s\r\n" % (len(part), part) if how.get("chunked") else part
                self.wfile.write(framed)
                self.wfile.flush()
                time.sleep(how.get("drip_s", 0))
            if how.get("chunked") and len(sent) == len(body):
                self.wfile.write(b"0\r\n\r\n")
        except OSError:  # the other side had enough
            pass
        if len(sent) < len(body) or how.get("extra"):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
