"""Probes: one container's startup, readiness and liveness, each in a thread with the timing its pod spec gives.

HTTP and TCP are tried from the node's namespace, as kubelet does. A verdict is reported when it changes, at once.
Unlike kubelet, a readiness probe is tried every QUICK_SECONDS until its first success, for the first
QUICK_FOR_SECONDS, without counting failures.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from meshproof.clusters.embedded import netns

Object = Mapping[str, Any]

QUICK_SECONDS = 0.1
QUICK_FOR_SECONDS = 5.0
ANSWER_BYTES = 10 * 1024

Execute = Callable[[list[str], float], tuple[int | None, str]]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds and counts of a probe, with Kubernetes' defaults."""

    initial_delay: float = 0
    period: float = 10
    timeout: float = 1
    successes: int = 1
    failures: int = 3


def timing(probe: Object) -> Timing:
    return Timing(
        initial_delay=probe.get("initialDelaySeconds") or 0,
        period=probe.get("periodSeconds") or 10,
        timeout=probe.get("timeoutSeconds") or 1,
        successes=probe.get("successThreshold") or 1,
        failures=probe.get("failureThreshold") or 3,
    )


class Tally:
    """Counts results against thresholds. `add` returns the verdict once a threshold is reached in a row, else None."""

    def __init__(self, limits: Timing) -> None:
        self._limits = limits
        self._last: bool | None = None
        self._count = 0

    def add(self, success: bool) -> bool | None:
        self._count = self._count + 1 if success == self._last else 1
        self._last = success
        needed = self._limits.successes if success else self._limits.failures
        return success if self._count >= needed else None


@dataclass(frozen=True, slots=True)
class Target:
    """What is probed: the pod's address as its node reaches it, and the way into the container."""

    node_netns: str
    address: str
    ports: Mapping[str, int]
    execute: Execute


def port_number(value: int | str, ports: Mapping[str, int]) -> int:
    """A port as a number; raises KeyError for a name the container does not have."""
    return ports[value] if isinstance(value, str) and not value.isdigit() else int(value)


def attempt(probe: Object, target: Target, timeout: float) -> tuple[bool, str]:
    """One try: (success, what was seen)."""
    try:
        if "exec" in probe:
            code, output = target.execute(list(probe["exec"].get("command") or []), timeout)
            return code == 0, output if code is not None else f"command timed out after {timeout:g}s"
        if "tcpSocket" in probe:
            with _connect(target, port_number(probe["tcpSocket"]["port"], target.ports), timeout):
                return True, ""
        return _http(probe["httpGet"], target, timeout)
    except (OSError, KeyError, ValueError) as error:
        return False, str(error)


def _connect(target: Target, port: int, timeout: float) -> socket.socket:
    # The socket belongs to the namespace it was made in; connecting can then wait in this thread.
    connection = netns.inside(target.node_netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    try:
        connection.settimeout(timeout)
        connection.connect((target.address, port))
    except BaseException:
        connection.close()
        raise
    return connection


def _http(get: Object, target: Target, timeout: float) -> tuple[bool, str]:
    deadline = time.monotonic() + timeout
    port = port_number(get["port"], target.ports)
    headers = {
        "Host": f"{target.address}:{port}",
        "User-Agent": "kube-probe/1.36",
        "Accept": "*/*",
        "Connection": "close",
    }
    headers.update({header["name"]: header.get("value", "") for header in get.get("httpHeaders") or []})
    path = "/" + (get.get("path") or "/").lstrip("/")
    request = "".join(
        [f"GET {path} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in headers.items()), "\r\n"]
    )
    with _connect(target, port, timeout) as plain:
        connection = plain
        if get.get("scheme") == "HTTPS":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # kubelet does not verify either
            connection = context.wrap_socket(plain)
        connection.sendall(request.encode())
        answer = b""
        while b"\r\n" not in answer and len(answer) < ANSWER_BYTES:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            piece = connection.recv(4096)
            if not piece:
                break
            answer += piece
    words = answer.split(b"\r\n", 1)[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/"):
        return False, "malformed HTTP answer"
    code = int(words[1])
    return 200 <= code < 400, f"HTTP probe failed with statuscode: {code}"


class Probes:
    """The probes of one run of one container.

    `verdict(kind, ok, message)` is called on every change of verdict and `trouble(kind, message)` on every failed
    try, from probe threads. Without a startup probe the other two begin at once; with one, after its success.
    """

    def __init__(
        self,
        container: Object,
        target: Target,
        verdict: Callable[[str, bool, str], None],
        trouble: Callable[[str, str], None],
    ) -> None:
        self._container = container
        self._target = target
        self._verdict = verdict
        self._trouble = trouble
        self._ended = threading.Event()
        self._stopping = threading.Event()

    def start(self) -> None:
        if "startupProbe" in self._container:
            self._spawn("startup")
        else:
            self._begin()

    def stopping(self) -> None:
        """The container is being stopped: only readiness goes on."""
        self._stopping.set()

    def ended(self) -> None:
        self._ended.set()
        self._stopping.set()

    def _begin(self) -> None:
        for kind in ("readiness", "liveness"):
            if f"{kind}Probe" in self._container:
                self._spawn(kind)

    def _spawn(self, kind: str) -> None:
        threading.Thread(target=self._run, args=(kind,), name=f"{kind} probe", daemon=True).start()

    def _run(self, kind: str) -> None:
        probe = self._container[f"{kind}Probe"]
        limits = timing(probe)
        tally = Tally(limits)
        over = self._ended if kind == "readiness" else self._stopping
        told: bool | None = None
        due = time.monotonic() + limits.initial_delay
        quick_until = due + QUICK_FOR_SECONDS if kind == "readiness" else 0.0
        while not over.wait(max(0.0, due - time.monotonic())):
            success, message = attempt(probe, self._target, limits.timeout)
            if over.is_set():
                return
            if not success and time.monotonic() < quick_until:
                due = time.monotonic() + QUICK_SECONDS
                continue
            quick_until = 0.0
            due = max(due + limits.period, time.monotonic())
            if not success:
                self._trouble(kind, message)
            verdict = tally.add(success)
            if verdict is not None and (verdict != told or (verdict is False and kind != "readiness")):
                told = verdict
                self._verdict(kind, verdict, message)
                if kind == "startup":
                    if verdict:
                        self._begin()
                    return
