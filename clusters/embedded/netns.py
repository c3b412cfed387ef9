"""Network namespaces by name, as `ip netns` keeps them, and how to do something inside one.

A thread that has entered a namespace is thrown away afterwards, so no other code ever finds
itself on the wrong network. Names live in /run/netns, which inside a fleet is a tmpfs of the
fleet's own mount namespace: nothing here is visible on the host.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

DIRECTORY = Path("/run/netns")
CLONE_NEWNET = 0x40000000
MS_BIND = 0x1000
MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)
Result = TypeVar("Result")


def create(name: str) -> None:
    """A new, empty network namespace with its loopback up. Raises FileExistsError when the name is taken."""
    path = DIRECTORY / name
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o444))
    try:
        _in_thread(lambda: _unshare_and_bind(path))
    except BaseException:
        delete(name)  # it may be mounted already, and then cannot simply be unlinked
        raise


def delete(name: str) -> None:
    """Forget the name; the namespace and its links go when its last process does. Absent is fine."""
    path = DIRECTORY / name
    _libc.umount2(os.fsencode(path), MNT_DETACH)
    path.unlink(missing_ok=True)


def exists(name: str) -> bool:
    return (DIRECTORY / name).exists()


def inside(name: str, function: Callable[[], Result]) -> Result:
    """`function()` run in the named namespace, in a thread that is then thrown away."""
    with open(DIRECTORY / name, "rb") as namespace:
        return inside_descriptor(namespace.fileno(), function)


def enter(name: str) -> None:
    """Move the calling thread into the named namespace for good: for a process that has no other thread yet."""
    with open(DIRECTORY / name, "rb") as namespace:
        _check(_libc.setns(namespace.fileno(), CLONE_NEWNET))


def inside_descriptor(descriptor: int, function: Callable[[], Result]) -> Result:
    """As `inside`, for an open namespace file; the fleet keeps one of the host's."""

    def enter() -> Result:
        _check(_libc.setns(descriptor, CLONE_NEWNET))
        return function()

    return _in_thread(enter)


def write_sysctl(key: str, value: str) -> None:
    """Set a sysctl of the calling thread's namespace, `key` with slashes: net/ipv4/ip_forward.

    /proc/sys/net shows the namespace of the thread that opens it.
    """
    Path("/proc/sys", key).write_text(value)


def _unshare_and_bind(path: Path) -> None:
    _check(_libc.unshare(CLONE_NEWNET))
    _check(_libc.mount(b"/proc/thread-self/ns/net", os.fsencode(path), b"none", MS_BIND, None))
    from pyroute2 import IPRoute

    with contextlib.closing(IPRoute()) as route:
        route.link("set", index=1, state="up")


def _check(code: int) -> None:
    if code != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _in_thread(function: Callable[[], Result]) -> Result:
    results: list[Result] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - carried over to the calling thread, whatever it is
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
