"""What the API is told of a pod: its status worked out from its containers' states (pure functions)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]
State = Mapping[str, Any]
"""A container state as the API has it: {"running": {...}}, {"waiting": {...}} or {"terminated": {...}}."""


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container as it is now."""

    name: str
    image: str
    image_id: str
    state: State
    last_state: State
    ready: bool
    started: bool
    restarts: int
    container_id: str
    final: bool
    """Whether it has ended and will not be started again."""


def creating(spec: Object) -> ContainerView:
    """A container whose pod has no network or volumes yet."""
    state = waiting("ContainerCreating")
    return ContainerView(spec["name"], spec["image"], "", state, {}, False, False, 0, "", final=False)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the pod is; `pod_ip` is empty until it has a network."""

    host_ip: str
    pod_ip: str
    start_time: str


def now() -> str:
    """RFC 3339, seconds, as the API writes times."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def waiting(reason: str, message: str = "") -> State:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def running(started: str) -> State:
    return {"running": {"startedAt": started}}


def terminated(code: int, started: str, container_id: str, message: str = "", reason: str = "") -> State:
    """`code` as `subprocess` gives it: -n for signal n, which the API knows as 128 + n."""
    exit_code = code if code >= 0 else 128 - code
    return {
        "terminated": {
            "exitCode": exit_code,
            "reason": reason or ("Completed" if exit_code == 0 else "Error"),
            "startedAt": started,
            "finishedAt": now(),
            "containerID": container_id,
            **({"message": message} if message else {}),
        }
    }


def phase(containers: Sequence[ContainerView]) -> str:
    """Pending until every container has been started, then Running until none is left to run."""
    if all(view.final for view in containers):
        codes = [view.state["terminated"]["exitCode"] for view in containers if "terminated" in view.state]
        return "Succeeded" if not any(codes) else "Failed"
    for view in containers:
        if "waiting" in view.state and not view.last_state:
            return "Pending"
    return "Running"


def conditions(views: Sequence[ContainerView], pod_phase: str, has_network: bool, before: Object) -> list[Object]:
    """The pod's own conditions; one that did not change keeps its transition time."""
    unready = [view.name for view in views if not view.ready]
    if pod_phase in ("Succeeded", "Failed"):
        verdict = ("False", "PodCompleted" if pod_phase == "Succeeded" else "PodFailed", "")
    elif unready:
        verdict = ("False", "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    else:
        verdict = ("True", "", "")
    wanted = {
        "PodReadyToStartContainers": ("True" if has_network else "False", "", ""),
        "Initialized": ("True", "", ""),
        "ContainersReady": verdict,
        "Ready": verdict,
        "PodScheduled": ("True", "", ""),
    }
    old = {condition["type"]: condition for condition in before.get("conditions") or []}
    return [
        {
            "type": kind,
            "status": value,
            "lastProbeTime": None,
            "lastTransitionTime": (
                old[kind]["lastTransitionTime"]
                if old.get(kind, {}).get("status") == value and old[kind].get("lastTransitionTime")
                else now()
            ),
            "reason": reason or None,
            "message": message or None,
        }
        for kind, (value, reason, message) in wanted.items()
    ]


def pod_status(views: Sequence[ContainerView], placement: Placement, before: Object) -> dict[str, Any]:
    """The whole status; `before` is the last one, for transition times."""
    pod_phase = phase(views)
    return {
        "phase": pod_phase,
        "conditions": conditions(views, pod_phase, bool(placement.pod_ip), before),
        "hostIP": placement.host_ip,
        "hostIPs": [{"ip": placement.host_ip}],
        **({"podIP": placement.pod_ip, "podIPs": [{"ip": placement.pod_ip}]} if placement.pod_ip else {}),
        "startTime": placement.start_time,
        "containerStatuses": [
            {
                "name": view.name,
                "image": view.image,
                "imageID": view.image_id,
                "state": view.state,
                "lastState": view.last_state,
                "ready": view.ready,
                "started": view.started,
                "restartCount": view.restarts,
                "containerID": view.container_id or None,
            }
            for view in views
        ],
    }


def failed(reason: str, message: str) -> dict[str, Any]:
    """The status of a pod that was never started."""
    return {"phase": "Failed", "reason": reason, "message": message, "startTime": now()}
