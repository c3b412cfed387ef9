"""Container output: pipes read by one thread into files of stamped lines, and those files read back for `kubectl logs`.

A line on disk is `<RFC 3339 time> <stream> <F|P> <text>`, as container runtimes write it; P marks a line that was
split. A file over LIMIT_BYTES is moved aside once, so a container keeps at most twice that.
"""

from __future__ import annotations

import datetime as dt
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

LIMIT_BYTES = 10 * 1024 * 1024
LINE_BYTES = 16 * 1024
FOLLOW_SECONDS = 0.1


@dataclass(slots=True)
class _Sink:
    path: Path
    stream: str
    file: int
    pending: bytes = b""


@dataclass(slots=True)
class Pump:
    """Copies what containers write into their log files. Thread-safe."""

    _poll: select.epoll = field(default_factory=select.epoll)
    _sinks: dict[int, _Sink] = field(default_factory=dict)

    def start(self) -> Pump:
        threading.Thread(target=self._run, name="logs", daemon=True).start()
        return self

    def open(self, path: Path) -> tuple[int, int]:
        """Write ends for stdout and stderr of a container that logs to `path`; the caller closes them."""
        path.parent.mkdir(parents=True, exist_ok=True)
        ends = []
        for stream in ("stdout", "stderr"):
            out, into = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(out, False)
            self._sinks[out] = _Sink(
                path, stream, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            )
            self._poll.register(out, select.EPOLLIN | select.EPOLLHUP)
            ends.append(into)
        return ends[0], ends[1]

    def _run(self) -> None:
        while True:
            for descriptor, _ in self._poll.poll():
                sink = self._sinks[descriptor]
                try:
                    data = os.read(descriptor, 65536)
                except BlockingIOError:
                    continue
                _write(sink, data)
                if not data:
                    self._poll.unregister(descriptor)
                    os.close(descriptor)
                    os.close(self._sinks.pop(descriptor).file)


def _write(sink: _Sink, data: bytes) -> None:
    stamp = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    *whole, rest = (sink.pending + data).split(b"\n")
    lines = [(line, b"F") for line in whole]
    if len(rest) >= LINE_BYTES or (rest and not data):
        lines.append((rest, b"P"))
        rest = b""
    sink.pending = rest
    head = f"{stamp} {sink.stream} ".encode()
    try:
        os.write(sink.file, b"".join(head + mark + b" " + line + b"\n" for line, mark in lines))
        if os.fstat(sink.file).st_size > LIMIT_BYTES:
            _rotate(sink)
    except OSError:
        pass  # a full disk loses log lines, never the container


def _rotate(sink: _Sink) -> None:
    """Move the file aside, unless the container's other stream has just done so."""
    if os.path.exists(sink.path) and os.path.samestat(os.fstat(sink.file), os.stat(sink.path)):
        os.replace(sink.path, sink.path.with_suffix(".old"))
    os.close(sink.file)
    sink.file = os.open(sink.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of a log request; `since` is a UTC time in the format of the file."""

    follow: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: str = ""
    limit_bytes: int | None = None


def read(path: Path, wanted: Wanted, ended: Callable[[], bool]) -> Iterator[bytes]:
    """The log as a client sees it, in pieces.

    Follows until `ended()` is true; an empty piece says "nothing new yet".
    """
    left = wanted.limit_bytes
    for piece in _pieces(path, wanted, ended):
        yield piece if left is None else piece[:left]
        left = None if left is None else left - len(piece)
        if left is not None and left <= 0:
            return


def _pieces(path: Path, wanted: Wanted, ended: Callable[[], bool]) -> Iterator[bytes]:
    if not path.exists():
        return
    with open(path, "rb") as file:
        lines: list[bytes] = []
        rotated = path.with_suffix(".old")
        if rotated.exists():
            lines += rotated.read_bytes().splitlines(keepends=True)
        lines += file.readlines()
        rest = b""
        if lines and not lines[-1].endswith(b"\n"):
            rest = lines.pop()
        lines = [line for line in lines if not wanted.since or line.split(b" ", 1)[0].decode() >= wanted.since]
        if wanted.tail is not None:
            lines = lines[-wanted.tail :] if wanted.tail else []
        yield b"".join(_shown(line, wanted.timestamps) for line in lines)
        while wanted.follow:
            over = ended()
            data = file.read(1 << 20)
            if data:
                *whole, rest = (rest + data).split(b"\n")
                yield b"".join(_shown(line + b"\n", wanted.timestamps) for line in whole)
            elif over:
                return
            else:
                time.sleep(FOLLOW_SECONDS)  # a bounded poll: ends with the container or with the client
                yield b""


def _shown(line: bytes, timestamps: bool) -> bytes:
    stamp, _, mark, text = line.split(b" ", 3)
    if mark == b"P":
        text = text.removesuffix(b"\n")
    return stamp + b" " + text if timestamps else text
