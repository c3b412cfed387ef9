"""Checks on rendered clusters: what we make agrees, and each wrong value is noticed by the check meant for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from meshproof.clusters.meshes.cilium.agreement import CHECKS, disagreements
from meshproof.clusters.meshes.cilium.rendered import Rendered
from tests import paper_chart
from tests.wrong_values import WRONG


@pytest.mark.parametrize("name", ["two", "three", "eight", "three-service-cidrs"])
@pytest.mark.parametrize("version", ["1.18", "1.20"])
def test_our_values_make_one_mesh(name: str, version: str, tmp_path: Path) -> None:
    """Fleets of any size agree on everything, with peers as a list or as a map."""
    assert disagreements(paper_chart.mesh(paper_chart.fleet(name), tmp_path, version=version)) == []


def test_the_fleet_like_profile_is_looked_for(tmp_path: Path) -> None:
    """Namespaces that are local by default are right in one profile and wrong in the other."""
    spec = replace(paper_chart.fleet(), profile="aks-fleet")
    local = paper_chart.mesh(spec, tmp_path)
    assert disagreements(local) == []
    assert disagreements(replace(local, spec=paper_chart.fleet())) == [
        f"namespaces: namespaces of {name} are global by default: false; cilium means true" for name in ("east", "west")
    ]


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_noticed(name: str, tmp_path: Path) -> None:
    """Each check can fail, says what it saw, and fails for its own reason."""
    change, check, words = WRONG[name]
    found = disagreements(paper_chart.mesh(paper_chart.fleet(), tmp_path, change))
    assert [line for line in found if line.startswith(f"{check}: ") and words in line], found


def test_every_check_has_values_that_break_it() -> None:
    """A check that nothing can turn red would prove nothing."""
    assert {check for _, check, _ in WRONG.values()} == set(CHECKS)


@pytest.mark.parametrize("missing", ["ConfigMap", "Service", "Secret", "Deployment"])
def test_what_was_not_rendered_is_missed(missing: str, tmp_path: Path) -> None:
    """An object that is not there counts as wrong, never as nothing to compare."""
    whole = paper_chart.mesh(paper_chart.fleet(), tmp_path)
    left = tuple(manifest for manifest in whole.rendered["west"].objects if manifest["kind"] != missing)
    assert disagreements(replace(whole, rendered={**whole.rendered, "west": Rendered(left)})) != []


def test_a_certificate_by_an_authority_of_the_same_name_is_noticed(tmp_path: Path) -> None:
    """Signatures are verified: a name says nothing about who signed."""
    ours, theirs = (paper_chart.mesh(paper_chart.fleet(), tmp_path / place) for place in ("ours", "theirs"))
    name = "clustermesh-apiserver-server-cert"
    foreign = theirs.rendered["west"].find("Secret", name)["data"]["tls.crt"]
    objects = tuple(
        {**manifest, "data": {**manifest["data"], "tls.crt": foreign}}
        if manifest["metadata"]["name"] == name
        else manifest
        for manifest in ours.rendered["west"].objects
    )
    assert disagreements(replace(ours, rendered={**ours.rendered, "west": Rendered(objects)})) == [
        f"trust: secret {name} of west is not signed by the cluster's authority"
    ]
