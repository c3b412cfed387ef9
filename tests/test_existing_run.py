"""A run in clusters somebody else made: what disturbs them is left out visibly, and a closed network is no verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshproof.clusters.fleet import Cluster, ClusterSpec
from meshproof.fixtures.patterns import Pattern
from meshproof.fixtures.verdicts import Verdict
from tests.paper_suite import CONFTEST, HOLDS, PREAMBLE
from tests.test_plugin import cases, left_by, suite

pytest_plugins = ["pytester"]
__all__ = ["suite"]

LENT = CONFTEST.replace(
    'FleetSpec(name, "paper", "paper", "cilium", specs, Path("paper.yaml"))',
    'FleetSpec(name, "existing", MESH, "cilium", specs, Path("f.yaml"), config.option.meshproof_disruption)',
)
DISTURBS = """
@requirement("DISC-02", exclusive=True)
def test_disturbs(pair, ask):
    claim(ask(pair.far.name), pair.far.name)
"""
CLOSED = """
from meshproof.fixtures.history import Observation, Source

class Closed:
    def __init__(self, asker):
        self.asker, self.recorder, self.clock = asker, asker.recorder, asker.clock

    def batch(self, count):
        self.asker.batch(count)  # takes as long
        now = self.clock.now()
        source = Source("east", "east-1", "client")
        return [Observation(source, "10.1.0.7:8080/http", now, now, now, Outcome.TIMED_OUT, None) for _ in range(count)]

    def enough(self):
        pass

    def describe(self):
        return "paper"


@requirement("DISC-01")
def test_closed(pair, ask):
    far = Match(Outcome.REACHED, cluster=pair.far.name)
    name = "the far backends answer by pod address"
    eventually(Closed(ask(pair.far.name)), far, within=0.3, in_a_row=3, name=name, role=CONTROL)
    claim(ask(pair.near.name), pair.far.name)
"""


def run(suite: pytest.Pytester, body: str, *arguments: str, fleet: str = "cilium-west") -> pytest.RunResult:
    mesh = "aks-fleet" if fleet.startswith("aks") else "cilium"
    suite.makeconftest(f"{LENT}\nMESH = {mesh!r}\n")
    suite.makepyfile(test_paper=PREAMBLE + body)
    return suite.runpytest("--fleet", fleet, "--seed", "7", *arguments)


@pytest.mark.parametrize(
    ("fleet", "arguments", "verdict", "why"),
    [
        ("cilium-west", (), Verdict.EXCLUDED, "allow it with --allow-disruption"),
        ("cilium-west", ("--allow-disruption",), Verdict.PASSED, ""),
        ("aks-west", ("--allow-disruption",), Verdict.EXCLUDED, "a managed mesh is never changed"),
    ],
)
def test_a_case_that_disturbs_is_left_out_and_listed(
    suite: pytest.Pytester, fleet: str, arguments: tuple[str, ...], verdict: Verdict, why: str
) -> None:
    """Without leave it is excluded, with the reason; on a managed mesh always. The other cases run."""
    assert run(suite, HOLDS + DISTURBS, *arguments, fleet=fleet).ret == 0
    found = cases(left_by(suite))
    near, far = fleet.split("-")
    assert {case.verdict for id, case in found.items() if id.startswith("DISC-01")} == {Verdict.PASSED}
    disturbing = found[f"DISC-02[{near}-{far}]"]
    assert disturbing.verdict is verdict
    assert disturbing.reason.endswith(why)
    if arguments:
        assert "--allow-disruption" in disturbing.rerun


def test_a_network_that_lets_no_probe_through_is_unknown(suite: pytest.Pytester) -> None:
    """Where a policy of somebody else cuts our pods off, the control is not answered, and nobody says failed."""
    assert run(suite, CLOSED).ret == 11
    case = cases(left_by(suite))["DISC-01[cilium-west]"]
    assert case.verdict is Verdict.UNKNOWN
    assert "control did not hold" in case.reason


def test_the_image_of_all_pods_can_be_chosen() -> None:
    """Every pod that a run makes has the image that was asked for."""
    pattern = Pattern.read(Path(__file__).parents[1] / "conformance" / "shop.yaml", "r1", "mine/python@sha256:1")
    pod = pattern.pod(Cluster(ClusterSpec("east"), "east", Path()), "echo", ())
    assert [container["image"] for container in pod["spec"]["containers"]] == ["mine/python@sha256:1"]


def test_contexts_are_given_with_the_fleet_called_existing(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Plain pytest takes --context with --fleet existing, one alone is unfit, and another fleet's name wrong usage."""
    monkeypatch.setenv("MESHPROOF_STATE", str(tmp_path / "state"))
    suite.makepyfile(test_paper=PREAMBLE + HOLDS)
    assert suite.runpytest("--fleet", "two", "--context", "a", "--context", "b").ret == 4
    alone = suite.runpytest("--fleet", "existing", "--context", "a")
    assert alone.ret == 10
    assert "give --context twice or more" in alone.stdout.str() + alone.stderr.str()
