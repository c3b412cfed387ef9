"""What runs first inside a container: builds its file system, gives up its rights and becomes its program.

Run by path as `python -I -S launch.py <spec> <status>`, as process 1 of new mount, UTS, IPC and PID
namespaces. The spec is JSON (see `container.launch_spec`); an error is written to the status FIFO, after a line
with our process number, and the FIFO is closed by the exec, so that a line and nothing else means the program
runs. Standard library only; imports nothing of the project.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import stat
import sys
from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
READ_ONLY = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus")
HIDDEN = ("/proc/kcore", "/proc/keys", "/proc/timer_list")

_libc = ctypes.CDLL(None, use_errno=True)


def _check(code: int, doing: str) -> None:
    if code != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{doing}: {os.strerror(error)}")


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    def text(value: str | None) -> bytes | None:
        return None if value is None else os.fsencode(value)

    _check(_libc.mount(text(source), text(target), text(kind), ctypes.c_ulong(flags), text(options)), f"mount {target}")


def bind(source: str, target: str, read_only: bool) -> None:
    mount(source, target, None, MS_BIND | MS_REC)
    if read_only:
        mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def build(spec: dict[str, Any]) -> None:
    """The container's file system, and the switch to it."""
    root = spec["root"]
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    # Opened before the switch, so that no link inside the new root can lead to another source.
    sources = [os.open(entry["source"], os.O_PATH) for entry in spec["mounts"]]
    options = f"lowerdir={spec['layer']}:/,upperdir={spec['upper']},workdir={spec['work']}"
    mount("overlay", root, "overlay", MS_NODEV, options)
    os.chdir(root)
    os.mkdir(".host")
    _check(_libc.syscall(PIVOT_ROOT[os.uname().machine], b".", b".host"), "pivot_root")
    os.chdir("/")
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=16m")
    devices()
    for descriptor, entry in zip(sources, spec["mounts"], strict=True):
        place(descriptor, entry["target"])
        bind(f"/proc/self/fd/{descriptor}", entry["target"], entry["readonly"])
        os.close(descriptor)
    for path in READ_ONLY:
        if os.path.exists(path):
            bind(path, path, True)
    for path in HIDDEN:
        if os.path.exists(path):
            bind("/dev/null", path, False)
    _check(_libc.umount2(b"/.host", MNT_DETACH), "leave the host's files")
    os.rmdir("/.host")
    os.makedirs(spec["cwd"], exist_ok=True)
    if spec["readonly"]:
        mount(None, "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NODEV)


def devices() -> None:
    mount("tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=755,size=64k")
    for name, (major, minor) in DEVICES.items():
        os.mknod(f"/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.chmod(f"/dev/{name}", 0o666)
    for name, target in LINKS.items():
        os.symlink(target, f"/dev/{name}")
    os.mkdir("/dev/pts")
    mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    os.mkdir("/dev/shm")  # noqa: S108 - the container's own
    mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=64m")  # noqa: S108 - the container's own


def place(descriptor: int, target: str) -> None:
    """Something to mount on: a directory or a file, as the source is."""
    if os.path.lexists(target):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT, 0o644))


def give_up(spec: dict[str, Any]) -> None:
    """Become the user; from here on the process has only what the pod spec left it."""
    kept = set(spec["capabilities"])
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    for capability in range(last + 1):
        if capability not in kept:
            _check(_libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "drop capability")
    os.setgroups(spec["groups"])
    os.setresgid(spec["gid"], spec["gid"], spec["gid"])
    os.setresuid(spec["uid"], spec["uid"], spec["uid"])
    if spec["no_new_privileges"]:
        _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    # Changing the user has cleared it.
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "die with the agent")


def find(program: str, path: str) -> str:
    if "/" in program:
        return program
    for directory in path.split(":"):
        candidate = f"{directory}/{program}"
        if os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
    raise FileNotFoundError(2, f"exec: {program!r}: executable file not found in $PATH")


def main() -> None:
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "die with the agent")
    status = os.open(sys.argv[2], os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(status, os.fsencode(os.readlink("/proc/self")) + b"\n")  # still the agent's /proc: our number there
        with open(sys.argv[1], "rb") as file:
            spec = json.loads(file.read())
        os.umask(0o022)
        name = os.fsencode(spec["hostname"])
        _check(_libc.sethostname(name, len(name)), "set host name")
        build(spec)
        os.chdir(spec["cwd"])
        give_up(spec)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        os.execve(find(spec["argv"][0], spec["env"].get("PATH", "")), spec["argv"], spec["env"])  # noqa: S606 - what it is for
    except Exception as error:  # noqa: BLE001 - whatever it is, the agent must hear of it
        os.write(status, f"{error}".encode())
        os._exit(128)


if __name__ == "__main__":
    main()
