"""Global service discovery: one name and namespace, backends in every cluster, and who answers whom."""

from __future__ import annotations

from meshproof.clusters.fleet import Feature
from meshproof.fixtures.borrowed import Pair
from meshproof.fixtures.echo import Echo, reached, reached_outside
from meshproof.fixtures.history import CONTROL
from meshproof.fixtures.requirements import requirement
from meshproof.fixtures.statistics import probes_needed
from meshproof.fixtures.sweep import Sweep
from meshproof.fixtures.waits import consistently, eventually


@requirement("DISC-01", needs={Feature.GLOBAL_SERVICES})
def test_every_cluster_answers_everywhere(pair: Pair, sweep: Sweep) -> None:
    """A client of the near cluster that asks the global service is answered by the far cluster too."""
    near, far = pair
    bound = pair.bounds.service_seconds_max
    eventually(
        sweep.own_pods(far),
        reached(far),
        since=sweep.since,
        within=bound,
        in_a_row=3,
        name="the far backends answer in their own cluster by pod address",
        role=CONTROL,
    )

    eventually(
        sweep.requests(near),
        reached(),
        including=reached(far),
        since=sweep.since,
        within=bound,
        in_a_row=probes_needed(sweep.share(far)),
        name="the far cluster answers",
    )


@requirement("DISC-04", needs={Feature.GLOBAL_SERVICES, Feature.SHARED}, mutates=True)
def test_unshared_backends_are_left_to_their_owner(pair: Pair, echo: Echo) -> None:
    """When the far cluster stops sharing, the near one leaves its backends alone, and it still uses both itself."""
    near, far = pair
    bounds = pair.bounds
    request = echo.requests(source=near)
    enough = probes_needed(echo.share(far))
    eventually(
        request,
        reached(),
        including=reached(far),
        within=bounds.service_seconds_max,
        in_a_row=enough,
        name="the far cluster answers before",
        role=CONTROL,
    )

    unshared = echo.annotate(far, shared=False)

    gone = "the peer stops using the unshared backends"
    outside = reached_outside(far)
    within = bounds.service_seconds_max
    eventually(request, outside, since=unshared.at, within=within, in_a_row=enough, name=gone)
    consistently(request, outside, during=bounds.watch_seconds, in_a_row=enough, name=gone)
    both, owner = "the owner still uses both", echo.requests(source=far)
    enough_for_near = probes_needed(echo.share(near))
    eventually(owner, reached(), including=reached(near), within=within, in_a_row=enough_for_near, name=both)
    eventually(owner, reached(), including=reached(far), within=within, in_a_row=enough, name=both)
    alive = "the far backends still answer by pod address"
    eventually(echo.direct(near, far), reached(far), within=within, in_a_row=3, name=alive, role=CONTROL)
