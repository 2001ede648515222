"""A web server on this machine that can misbehave as real ones do, for the tests of downloads."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Source:
    """One file at `url`, and how it is served; `seen` are the ranges that were asked for (None: all of it)."""

    body: bytes
    name: str = "data.csv"
    etag: str | None = '"one"'
    ranges: bool = True
    status: int = 200  # another: only this
    fails: int = 0  # so many first answers are 503
    cuts: list[int] = field(default_factory=list)  # each answer ends after so many bytes; then whole ones
    claims: int | None = None  # a Content-Length that is not true
    chunked: bool = False
    hangs: bool = False  # after the headers
    location: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    pause: float = 0.0  # seconds after each piece
    piece: int = 1 << 16
    port: int = 0
    seen: list[str | None] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.name}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    source: Source

    def do_GET(self) -> None:
        source, asked = self.source, self.headers.get("Range")
        source.seen.append(asked)
        if source.location is not None:
            self.answer(302, {"Location": source.location, "Content-Length": "0"})
        elif source.status != 200 or source.fails > 0:
            source.fails -= 1
            self.answer(source.status if source.status != 200 else 503, {"Content-Length": "0"})
        else:
            self.send(source, asked if source.ranges else None)

    def send(self, source: Source, asked: str | None) -> None:
        start, whole = 0, len(source.body)
        if asked and self.headers.get("If-Range", source.etag) == source.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        facts = dict(source.headers) | ({"ETag": source.etag} if source.etag else {})
        if start >= whole > 0:
            self.answer(416, {**facts, "Content-Range": f"bytes */{whole}", "Content-Length": "0"})
            return
        if start:
            facts["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
        if source.chunked:
            facts["Transfer-Encoding"] = "chunked"
        else:
            facts["Content-Length"] = str(whole - start if source.claims is None else source.claims)
        self.answer(206 if start else 200, facts)
        if source.hangs:
            source.over.wait(30)
            return
        stop = start + source.cuts.pop(0) if source.cuts else whole
        for at in range(start, min(stop, whole), source.piece):
            piece = source.body[at : min(at + source.piece, stop)]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if source.chunked else piece)
            time.sleep(source.pause)
        if source.chunked and stop >= whole:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(source: Source) -> Iterator[Source]:
    """The source, served until the block ends."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:  # a client that is gone is part of the tests
            pass

    with Quiet(("127.0.0.1", 0), type("Bound", (Handler,), {"source": source})) as server:
        source.port = server.server_port
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
        thread.start()
        try:
            yield source
        finally:
            source.over.set()
            server.shutdown()
            thread.join()
