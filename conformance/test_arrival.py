"""How soon a pod that is ready is reached from another cluster."""

from __future__ import annotations

from meshproof.clusters.fleet import Feature
from meshproof.fixtures.arrival import Arrivals
from meshproof.fixtures.borrowed import Pair
from meshproof.fixtures.measures import percentile
from meshproof.fixtures.requirements import requirement


@requirement("DISC-18", needs={Feature.GLOBAL_SERVICES})
def test_a_ready_pod_is_soon_reached(pair: Pair, arrivals: Arrivals) -> None:
    """Of many far pods that turn ready, 95 in 100 answer the near cluster within the bound."""
    near, far = pair
    within = pair.bounds.propagation_seconds_p95_max
    percentile(
        arrivals.seen(near, far),
        arrivals.samples(near, far, within),
        within=within,
        name="p95 of the propagation is within the bound",
    )
