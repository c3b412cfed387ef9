"""What the API is told of a pod."""

from __future__ import annotations

from typing import Any

import pytest

from meshproof.clusters.embedded.nodeagent import status
from meshproof.clusters.embedded.nodeagent.status import ContainerView, Placement

RUNNING = status.running("2026-01-01T00:00:00Z")
PLACE = Placement("10.101.0.101", "10.141.1.7", "2026-01-01T00:00:00Z")


def view(state: Any, ready: bool = False, last: Any = None, final: bool = False) -> ContainerView:
    return ContainerView("c", "python", "i", state, last or {}, ready, True, 0, "meshproof://1", final)


def ended(code: int) -> Any:
    return status.terminated(code, "2026-01-01T00:00:00Z", "meshproof://1")


@pytest.mark.parametrize(
    ("views", "phase"),
    [
        ([view(status.waiting("ContainerCreating"))], "Pending"),
        ([view(RUNNING), view(status.waiting("ContainerCreating"))], "Pending"),
        ([view(RUNNING)], "Running"),
        ([view(status.waiting("CrashLoopBackOff"), last=ended(1))], "Running"),
        ([view(ended(0), final=True), view(RUNNING)], "Running"),
        ([view(ended(0), final=True)], "Succeeded"),
        ([view(ended(0), final=True), view(ended(3), final=True)], "Failed"),
    ],
)
def test_the_phase_follows_from_the_containers(views: list[ContainerView], phase: str) -> None:
    """Pending until all have started, Running until none is left, then by exit code."""
    assert status.phase(views) == phase


def test_a_signal_is_told_as_128_and_more() -> None:
    """SIGKILL is exit code 137."""
    assert ended(-9)["terminated"]["exitCode"] == 137
    assert ended(-9)["terminated"]["reason"] == "Error"


def test_the_pod_is_ready_when_all_its_containers_are() -> None:
    """One unready container makes Ready and ContainersReady false, and is named."""
    told = status.pod_status([view(RUNNING, ready=True), view(RUNNING, ready=False)], PLACE, {})
    ready = {entry["type"]: entry for entry in told["conditions"]}
    assert ready["Ready"]["status"] == ready["ContainersReady"]["status"] == "False"
    assert "[c]" in ready["Ready"]["message"]
    assert status.pod_status([view(RUNNING, ready=True)], PLACE, {})["conditions"][3]["status"] == "True"


def test_a_condition_that_did_not_change_keeps_its_time() -> None:
    """Telling the same again gives the same status, so nothing is sent."""
    before = status.pod_status([view(RUNNING)], PLACE, {})
    for condition in before["conditions"]:
        condition["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    assert status.pod_status([view(RUNNING)], PLACE, before) == before
    after = {
        entry["type"]: entry for entry in status.pod_status([view(RUNNING, ready=True)], PLACE, before)["conditions"]
    }
    assert after["Initialized"]["lastTransitionTime"] == "2020-01-01T00:00:00Z"
    assert after["Ready"]["lastTransitionTime"] != "2020-01-01T00:00:00Z"
