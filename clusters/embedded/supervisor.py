"""The first process of an embedded fleet: builds its network, starts its programs, keeps them running.

It is pid 1 of the fleet's own PID, network and mount namespaces, so that its death, however it
comes, takes every process, namespace, link and route of the fleet with it. It learns what to do
from the fleet file in its directory and tells the world how it fares in `status.json` there.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meshproof.clusters import fleetfile
from meshproof.clusters.embedded import bringup, controlplane, fabric, netns, pki
from meshproof.clusters.embedded.binaries import Binaries
from meshproof.clusters.embedded.forkserver import ForkServer
from meshproof.clusters.embedded.processes import Keeper

READY_SECONDS_MAX = 240.0
TICK_SECONDS = 0.05


class Status:
    """What `up`, `status` and `doctor` read: phase, one line of detail, seconds to each step, restarts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._content: dict[str, Any] = {"phase": "starting", "detail": "", "timings": {}, "restarts": {}}

    def step(self, name: str) -> None:
        """A step is done: its time since the start is kept."""
        with self._lock:
            self._content["timings"][name] = round(time.monotonic() - self._began, 3)
            self._content["detail"] = name
            self._write()

    def phase(self, phase: str, detail: str) -> None:
        with self._lock:
            self._content.update(phase=phase, detail=detail)
            self._write()

    def exited(self, name: str, code: int, restarts: int) -> None:
        with self._lock:
            self._content["restarts"][name] = {"last_exit_code": code, "restarts": restarts + 1}
            with contextlib.suppress(OSError):  # a full disk must not end a fleet that is up
                self._write()
        print(f"{name} exited with code {code}; it is started again", flush=True)

    def _write(self) -> None:
        scratch = self._path.with_suffix(".new")
        pki.write_secret(scratch, json.dumps(self._content, indent=1).encode())
        scratch.replace(self._path)


def main(argv: list[str]) -> int:
    """argv: the fleet directory, and the number of an open file of the machine's network namespace."""
    directory, host = Path(argv[0]), int(argv[1])
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = Status(directory / "status.json")
    try:
        keeper = start(directory, host, status, ForkServer())
    except Exception as error:  # noqa: BLE001 - pid 1 is the last to know: it must reach the person who waits
        traceback.print_exc()
        status.phase("failed", f"{type(error).__name__}: {error}")
        return 1
    while True:
        keeper.tend()
        time.sleep(TICK_SECONDS)


def start(directory: Path, host: int, status: Status, fork_server: ForkServer) -> Keeper:
    """Network first, then every cluster side by side in threads of its own."""
    spec = fleetfile.load(directory / "fleet.yaml")
    handed = json.loads((directory / "binaries.json").read_text())
    binaries = Binaries(Path(handed["directory"]), handed["origin"], handed["kubernetes"])
    private_mounts(directory)
    fabric.build(spec)
    fabric.join_host(spec, host)
    os.close(host)
    status.step("network")
    mesh_authority = pki.new_authority(directory / "pki" / "_mesh", "meshproof reference mesh")
    keeper = Keeper(status.exited, fork_server)
    context = bringup.Context(spec, directory, binaries, mesh_authority, keeper, status.step)
    threading.Thread(target=_bring_up, args=(context, status), name="bring-up", daemon=True).start()
    return keeper


def _bring_up(context: bringup.Context, status: Status) -> None:
    errors: list[str] = []

    def guarded(cluster_name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - as above, from a thread
            traceback.print_exc()
            errors.append(f"{cluster_name}: {type(error).__name__}: {error}")

    def conclude() -> None:
        names = [cluster.name for cluster in context.spec.clusters]
        controlplane.write_merged_kubeconfig(context.directory / "kubeconfig", names)
        status.step("ready")
        status.phase("ready", f"{len(names)} clusters")

    threads = [
        threading.Thread(
            target=guarded,
            args=(cluster.name, lambda cluster=cluster: bringup.cluster(context, cluster, READY_SECONDS_MAX)),
        )
        for cluster in context.spec.clusters
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not errors:
        guarded("all clusters", conclude)
    if errors:
        status.phase("failed", "; ".join(errors))


def private_mounts(directory: Path) -> None:
    """Namespace names, and everything that changes fast, live in memory that only this fleet sees.

    All of /run is covered, so that not even an empty directory is made on the machine's own.
    """
    scratch = directory / "scratch"
    scratch.mkdir(mode=0o700, exist_ok=True)
    for path, mode in ((scratch, "0700"), (netns.DIRECTORY.parent, "0755")):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode={mode}", "meshproof", str(path)], check=True)
    netns.DIRECTORY.mkdir(mode=0o755)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
