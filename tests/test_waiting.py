"""What a person who waits for a fleet is told: which step is open in which cluster, and which log to look at."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from meshproof.clusters import fleetfile
from meshproof.clusters.embedded import provider, steps
from meshproof.clusters.fleet import FleetSpec
from meshproof.clusters.places import fleet_directory

CLUSTERS = ("east", "west")


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FleetSpec:
    monkeypatch.setenv("MESHPROOF_STATE", str(tmp_path))
    return fleetfile.load(fleetfile.resolve("two"))


@pytest.mark.parametrize(
    ("done", "what", "log"),
    [
        ((), "the network", "supervisor.log"),
        (("network",), "east api, west api", "logs/east/kube-apiserver.log"),
        (("network", "west api"), "east api, west nodes", "logs/east/kube-apiserver.log"),
        (("network", "east api", "east nodes"), "east mesh, west api", "logs/east/mesh-exporter.log"),
        (
            ("network", *(f"east {step}" for step in steps.LOGS)),
            "west api",
            "logs/west/kube-apiserver.log",
        ),
        (
            ("network", *(f"{name} {step}" for name in CLUSTERS for step in steps.LOGS)),
            "the last step",
            "supervisor.log",
        ),
    ],
)
def test_the_open_step_of_each_cluster_is_named(spec: FleetSpec, done: tuple[str, ...], what: str, log: str) -> None:
    """Every cluster that is not done stands there with its next step; the log is that of the first of them."""
    assert steps.pending(spec, Path("f"), done) == (what, Path("f") / log)


def test_a_silent_wait_says_for_what_and_how_long(spec: FleetSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing happens for a while the line names the step, the limit and the log, again and again."""
    monkeypatch.setattr(provider, "HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(provider, "processes_of", lambda directory: [1])
    directory = fleet_directory(spec.name)
    directory.mkdir(parents=True)

    def report(phase: str) -> None:
        timings = {"network": 0.4, "east api": 5.0}
        (directory / "status.new").write_text(json.dumps({"phase": phase, "detail": "", "timings": timings}))
        (directory / "status.new").replace(directory / "status.json")

    report("starting")
    told: list[str] = []
    heard = threading.Event()

    def progress(line: str) -> None:
        told.append(line)
        if "still waiting" in line:
            heard.set()

    waiting = threading.Thread(target=provider._await_ready, args=(spec, directory, progress))
    waiting.start()
    assert heard.wait(60)
    report("ready")
    waiting.join(60)
    log = directory / "logs/east/node-agent.log"
    assert [line.split("s  ")[1] for line in told[:2]] == ["network", "east api"]
    assert f"still waiting for east nodes, west api (300 s at most), see {log}" in told[2]
