"""Whatever was balanced leaves a node under the node's own address.

Models cilium/cilium#8885 (part C, 78; mutant M16): a native routing CIDR that left out the other clusters made every
packet to them masqueraded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from meshproof.clusters.meshes.reference.defects import Defect
from meshproof.clusters.meshes.reference.merge import Frontend
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.ruleset import Ruleset


def wrap(healthy: Pipeline) -> Pipeline:
    def compile_rules(frontends: Iterable[Frontend]) -> Ruleset:
        rules = healthy.compile(frontends)
        return replace(rules, postrouting=(*rules.postrouting, 'oifname != "lo" ct status dnat masquerade'))

    return replace(healthy, compile=compile_rules)


DEFECT = Defect(
    name="sources_hidden",
    models="C78 cilium/cilium#8885, M16",
    requirement="LB-13",
    expectation="the server sees the client's pod address",
    stays_green=("DISC-01", "LB-01", "LB-02", "LB-03", "LB-06", "LB-07", "LB-08", "LB-12"),
    wrap=wrap,
)
