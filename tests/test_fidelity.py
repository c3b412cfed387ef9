"""The real charts notice what the checks say they would: wrong values turn red, misspelt keys are caught, images move.

Needs the charts (MESHPROOF_CHARTS, set by `make fidelity CHARTS=DIR`) and helm; without the charts it is skipped.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshproof import fidelity
from meshproof.clusters.fleet import EnvironmentUnfit
from meshproof.clusters.meshes.cilium import helm, lock, rendered, rendering, strict
from meshproof.clusters.meshes.cilium.agreement import disagreements
from meshproof.clusters.meshes.cilium.charts import Chart
from meshproof.clusters.meshes.cilium.commands import CommandFailed
from meshproof.clusters.meshes.cilium.placement import place
from meshproof.clusters.meshes.cilium.rendering import Change, Plan
from tests.wrong_values import WRONG, put, rename


@pytest.fixture(scope="module")
def charts() -> dict[str, Chart]:
    """By line, such as 1.20."""
    given = os.environ.get("MESHPROOF_CHARTS")
    if not given:
        pytest.skip("no charts given: make fidelity CHARTS=DIR")
    return {"{}.{}".format(*chart.release.line): chart for chart in fidelity.charts_in(Path(given))}


@pytest.fixture(scope="module")
def tool(charts: dict[str, Chart]) -> helm.Helm:
    return helm.find(lambda _: None)


@pytest.fixture
def plan(charts: dict[str, Chart]) -> Plan:
    return fidelity.plan_for("two", "cilium", charts["1.20"])


def found(tool: helm.Helm, plan: Plan, work: Path, change: Change) -> list[str]:
    return disagreements(rendering.render(tool, plan, work, change))


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_noticed(name: str, tool: helm.Helm, plan: Plan, tmp_path: Path) -> None:
    """Every check can fail on what the real chart renders, and fails for its own reason."""
    change, check, words = WRONG[name]
    lines = found(tool, plan, tmp_path, change)
    assert [line for line in lines if line.startswith(f"{check}: ") and words in line], lines


@pytest.mark.slow
@pytest.mark.parametrize("line", ["1.18", "1.19", "1.20"])
def test_every_key_of_ours_is_caught_when_it_is_misspelt(line: str, charts: dict[str, Chart], tmp_path: Path) -> None:
    """One letter too many, in each key at any depth, except where the chart leaves a peer's settings free."""
    plan = fidelity.plan_for("two", "cilium", charts[line])
    schema = rendered.document(plan.chart.read("values.schema.json"))
    defaults = rendered.document(plan.chart.read("values.yaml"))
    for file in rendering.write(plan, tmp_path)["east"]:
        values = rendered.document(file.read_text())
        assert strict.faults(values, schema, defaults) == []
        tried = 0
        for route in keys(values):
            wrong = strict.faults(misspelt(values, route), schema, defaults)
            assert any(f"{'.'.join(route)}x is no key of this chart" in fault for fault in wrong), route
            tried += 1
        assert tried


def keys(values: Any, route: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(values, dict) and route not in strict.FREE:
        for key, value in values.items():
            yield (*route, key)
            yield from keys(value, (*route, key))


def misspelt(values: dict[str, Any], route: tuple[str, ...]) -> dict[str, Any]:
    changed = copy.deepcopy(values)
    inner = changed
    for step in route[:-1]:
        inner = inner[step]
    inner[f"{route[-1]}x"] = inner.pop(route[-1])
    return changed


@pytest.mark.slow
def test_helm_alone_takes_a_misspelt_key(tool: helm.Helm, plan: Plan, tmp_path: Path) -> None:
    """The chart's schema lets unknown keys pass, so without our own check the default is installed in silence."""
    typo = rename("clustermesh/apiserver/service/nodePort", "nodeport")
    assert any("32379" in line for line in found(tool, plan, tmp_path, typo))


@pytest.mark.slow
def test_a_peer_without_its_addresses_is_refused_by_the_chart(tool: helm.Helm, plan: Plan, tmp_path: Path) -> None:
    """Where the chart leaves keys free, it asks for an address itself."""
    with pytest.raises(CommandFailed, match=r"clustermesh\.apiserver\.config\.clusters\.address"):
        found(tool, plan, tmp_path, rename("clustermesh/config/clusters/west/ips", "ipss"))


@pytest.mark.slow
def test_the_oldest_line_refuses_peers_as_a_map(tool: helm.Helm, charts: dict[str, Chart], tmp_path: Path) -> None:
    """Why 1.18 gets its peers as a list."""
    plan = fidelity.plan_for("two", "cilium", charts["1.18"])
    peers = {"west": {"ips": ["10.102.0.101"], "port": 32381}}
    with pytest.raises(CommandFailed, match="clusters"):
        found(tool, plan, tmp_path, put("clustermesh/config/clusters", peers))


@pytest.mark.slow
@pytest.mark.parametrize("line", ["1.18", "1.19", "1.20"])
def test_images_are_rendered_from_where_they_were_placed(
    line: str, tool: helm.Helm, charts: dict[str, Chart], tmp_path: Path
) -> None:
    """A mirror, an override and tags without digests reach every container of the chart."""
    plan = fidelity.plan_for("two", "cilium", charts[line])
    release = plan.chart.release
    for number, images in enumerate(
        (
            place(release, mirror="registry.example/m", overrides={"envoy": "registry.example/e:1"}),
            place(release, by_tag=True),
        )
    ):
        assert found(tool, replace(plan, images=images), tmp_path / str(number), lambda _, values: values) == []


@pytest.mark.slow
def test_certificates_differ_at_each_render_and_their_authority_does_not(
    tool: helm.Helm, plan: Plan, tmp_path: Path
) -> None:
    """Helm signs anew each time; given our authority, old and new trust each other."""
    first, second = (rendering.render(tool, plan, tmp_path).rendered["east"] for _ in range(2))
    served = [objects.secret("clustermesh-apiserver-server-cert")["tls.crt"] for objects in (first, second)]
    assert served[0] != served[1]
    assert first.secret("cilium-ca")["ca.crt"] == second.secret("cilium-ca")["ca.crt"]


def test_without_charts_it_is_skipped_with_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was checked, and it says so."""
    assert fidelity.main([]) == 0
    assert capsys.readouterr().out.startswith("skipped: no charts given; make fidelity CHARTS=DIR")


def test_a_chart_of_the_lock_that_is_missing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory without one of the releases checks nothing."""
    with pytest.raises(EnvironmentUnfit, match=rf"has no chart of Cilium {lock.lock().releases[0].version}"):
        fidelity.charts_in(tmp_path)
    assert fidelity.main([str(tmp_path), "--paper"]) == 10
    assert "is missing" in capsys.readouterr().err
