"""One container of one pod through all its runs: started, watched, restarted with back-off, stopped.

A keeper belongs to its pod's thread: only that thread calls it, but for `stop`'s waiting, which has a thread of
its own. What happens elsewhere (an end, a probe's verdict) comes back through `tell` as a call to be made in the
pod's thread.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshproof.clusters.embedded.nodeagent import container, images, plans, status
from meshproof.clusters.embedded.nodeagent.container import Run
from meshproof.clusters.embedded.nodeagent.events import Events
from meshproof.clusters.embedded.nodeagent.identity import CannotStart
from meshproof.clusters.embedded.nodeagent.logs import Pump
from meshproof.clusters.embedded.nodeagent.plans import Surroundings
from meshproof.clusters.embedded.nodeagent.probes import Probes, Target
from meshproof.clusters.embedded.nodeagent.processes import Processes

Object = Mapping[str, Any]

BACK_OFF_SECONDS = 10.0
BACK_OFF_SECONDS_MAX = 300.0
FORGIVEN_AFTER_SECONDS = 600.0
MESSAGE_BYTES = 4096
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Tools:
    """What all keepers of the agent share."""

    processes: Processes
    pump: Pump
    events: Events
    images: Mapping[str, str]
    layers: Path
    gate: threading.Semaphore
    """Limits how many containers are started at the same time."""


class Keeper:
    """See the module.

    `spec` is the container's entry in the pod spec; `earlier` its status from before the agent started.
    """

    def __init__(self, tools: Tools, around: Surroundings, spec: Object, earlier: Object) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.run: Run | None = None
        self.final = False
        self.restarts: int = earlier.get("restartCount") or 0
        self._tools = tools
        self._around = around
        self._state: status.State = status.waiting("ContainerCreating")
        self._last: status.State = earlier.get("lastState") or {}
        self._id: str = earlier.get("containerID") or ""
        self._image_id = ""
        self._ready = self._started = self._stopping = False
        self._probes: Probes | None = None
        self._began = 0.0
        self._began_at = ""
        self._back_off = 0.0
        self._due = 0.0
        self._resume(earlier)

    @property
    def due(self) -> float:
        """When `tick` has something to do (monotonic); infinite when nothing is planned."""
        return NEVER if self.run is not None or self.final or self._stopping else self._due

    @property
    def view(self) -> status.ContainerView:
        return status.ContainerView(
            name=self.name,
            image=self.spec["image"],
            image_id=self._image_id,
            state=self._state,
            last_state=self._last,
            ready=self._ready,
            started=self._started,
            restarts=self.restarts,
            container_id=self._id,
            final=self.final,
        )

    def log_path(self, previous: bool = False) -> Path:
        return self._around.logs / self.name / f"{self.restarts - (1 if previous else 0)}.log"

    def tick(self) -> None:
        """Start the container when it is due."""
        if time.monotonic() < self.due:
            return
        pod, events = self._around.pod, self._tools.events
        try:
            image = images.resolve(self.spec["image"], self._tools.images, self._tools.layers)
        except images.UnknownImage as error:
            reason = "ImagePullBackOff" if self._back_off else "ErrImagePull"
            events.warning(pod, "Failed", f"Failed to pull image: {error}", self.name)
            self._wait(reason, str(error))
            return
        if self._id:
            self.restarts += 1
        self._image_id = image.id
        events.normal(pod, "Pulled", f"Container image {self.spec['image']!r} is the host's {image.program}", self.name)
        try:
            with self._tools.gate:
                self._start(image)
        except (CannotStart, OSError) as error:
            self._id = self._id or f"meshproof://{secrets.token_hex(32)}"
            self._last = status.terminated(128, status.now(), self._id, str(error), "StartError")
            events.warning(pod, "Failed", f"Error: {error}", self.name)
            if self._policy() == "Never":
                self._state, self._last, self.final = self._last, {}, True
            else:
                self._wait("RunContainerError" if not self._back_off else "CrashLoopBackOff", str(error))

    def stop(self, grace: float, why: str) -> None:
        """Stop the container for good or, when only a probe failed, to be started again by its policy."""
        if self.run is None:
            return
        if self._probes is not None:
            self._probes.stopping()
        self._tools.events.normal(self._around.pod, "Killing", why, self.name)
        hook = self._hook(self.run)
        threading.Thread(target=self.run.stop, args=(grace, hook), name=f"stop {self.name}", daemon=True).start()

    def give_up(self, grace: float) -> None:
        """The pod is going: stop, and start nothing again."""
        first, self._stopping = not self._stopping, True
        if self.run is None:
            if not self.final:
                self._state = (
                    status.terminated(137, status.now(), self._id, "the container was not running")
                    if self._id
                    else self._state
                )
            self.final = True
        elif first:
            self.stop(grace, f"Stopping container {self.name}")
        else:
            self.run.hasten(grace)

    def _resume(self, earlier: Object) -> None:
        """Go on from what the API last heard of this container, when an agent before us ran it."""
        before = earlier.get("state") or {}
        if "running" in before:
            began = before["running"].get("startedAt") or status.now()
            lost = status.terminated(137, began, self._id, "the node agent was restarted", "ContainerStatusUnknown")
            if self._policy() == "Never":
                self._state, self.final = lost, True
            else:
                self._last = lost
        elif "terminated" in before:
            code = before["terminated"].get("exitCode", 0)
            if self._policy() == "Never" or (self._policy() == "OnFailure" and code == 0):
                self._state, self.final = before, True
            else:
                self._last = before

    def _start(self, image: images.Image) -> None:
        plan = plans.plan(self._around, self.spec, image, self.restarts)
        path = self.log_path()
        with contextlib.suppress(FileNotFoundError):
            (path.parent / f"{self.restarts - 2}.log").unlink()
        stdout, stderr = self._tools.pump.open(path)
        box: list[Run] = []
        try:
            run = container.start(
                self._tools.processes,
                plan,
                stdout,
                stderr,
                lambda code: self._around.tell(lambda: self._ended(box[0], code)),
            )
        finally:
            os.close(stdout)
            os.close(stderr)
        box.append(run)
        self.run = run
        self._id = f"meshproof://{secrets.token_hex(32)}"
        self._began, self._began_at = time.monotonic(), status.now()
        self._state = status.running(self._began_at)
        self._started = "startupProbe" not in self.spec
        self._ready = self._started and "readinessProbe" not in self.spec
        self._tools.events.normal(self._around.pod, "Started", f"Container {self.name} started", self.name)
        ports = {port["name"]: port["containerPort"] for port in self.spec.get("ports") or [] if port.get("name")}
        target = Target(self._around.node_netns, self._around.facts.pod_ip, ports, run.execute)
        self._probes = Probes(
            self.spec,
            target,
            lambda kind, ok, message: self._around.tell(lambda: self._judged(run, kind, ok)),
            lambda kind, message: self._tools.events.warning(
                self._around.pod, "Unhealthy", f"{kind.capitalize()} probe failed: {message}", self.name
            ),
        )
        self._probes.start()

    def _ended(self, run: Run, code: int) -> None:
        if self._probes is not None:
            self._probes.ended()
        self.run, self._ready, self._started = None, False, False
        over = status.terminated(code, self._began_at, self._id, self._last_words(code))
        container.discard(run.plan)
        policy = self._policy()
        if self._stopping or policy == "Never" or (policy == "OnFailure" and code == 0):
            self._state, self.final = over, True
            return
        self._last = over
        if time.monotonic() - self._began >= FORGIVEN_AFTER_SECONDS:
            self._back_off = 0.0
        if self._back_off:
            seconds = self._back_off
            self._tools.events.warning(
                self._around.pod, "BackOff", f"Back-off restarting failed container {self.name}", self.name
            )
            self._wait("CrashLoopBackOff", f"back-off {seconds:g}s restarting failed container={self.name}")
        else:
            # The first restart is immediate, as kubelet's.
            self._state, self._due, self._back_off = over, 0.0, BACK_OFF_SECONDS

    def _wait(self, reason: str, message: str) -> None:
        """Try again after the back-off, and double it."""
        seconds = self._back_off or BACK_OFF_SECONDS
        self._state = status.waiting(reason, message)
        self._due = time.monotonic() + seconds
        self._back_off = min(2 * seconds, BACK_OFF_SECONDS_MAX)

    def _judged(self, run: Run, kind: str, ok: bool) -> None:
        if run is not self.run:
            return
        if kind == "readiness":
            self._ready = ok
        elif kind == "startup" and ok:
            self._started = True
            self._ready = "readinessProbe" not in self.spec
        elif not ok and not self._stopping:
            grace = self._around.pod["spec"].get("terminationGracePeriodSeconds", 30)
            self.stop(grace, f"Container {self.name} failed {kind} probe, will be restarted")

    def _hook(self, run: Run) -> Callable[[float], None] | None:
        hook = (self.spec.get("lifecycle") or {}).get("preStop")
        if not hook:
            return None

        def before_stop(grace: float) -> None:
            if "sleep" in hook:
                run.gone.wait(min(grace, hook["sleep"].get("seconds") or 0))
                return
            code, output = run.execute(hook["exec"].get("command") or [], grace)
            if code != 0:
                seen = "took longer than the grace period" if code is None else f"exit code {code}: {output}"
                self._tools.events.warning(
                    self._around.pod, "FailedPreStopHook", f"PreStopHook failed: {seen}", self.name
                )

        return before_stop

    def _last_words(self, code: int) -> str:
        """The termination message: the file's, or the log's end when that is wanted and the file is empty."""
        with contextlib.suppress(OSError):
            text = plans.message_path(self._around, self.name).read_bytes()[:MESSAGE_BYTES]
            if text or code == 0 or self.spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
                return text.decode(errors="replace")
            lines = self.log_path().read_bytes()[-2048:].splitlines()[-80:]
            return b"\n".join(line.split(b" ", 3)[-1] for line in lines).decode(errors="replace")
        return ""

    def _policy(self) -> str:
        policy: str = self._around.pod["spec"].get("restartPolicy", "Always")
        return policy
