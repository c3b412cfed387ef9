"""Load distribution: which part of the connections each cluster and each pod takes, and as whom a client is seen.

What is counted are connections, each request a new one, from client pods on different nodes. The read-only cases share
one look per client cluster (`Connections`), large enough to show one pod at half its share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from meshproof.clusters.fleet import Feature, Fleet
from meshproof.fixtures.borrowed import Pair
from meshproof.fixtures.echo import Echo, answered_by, reached
from meshproof.fixtures.history import CLUSTER, CONTROL, POD, Match, Shares, Source
from meshproof.fixtures.matching import began
from meshproof.fixtures.measures import distributed, observe
from meshproof.fixtures.outcomes import Outcome
from meshproof.fixtures.requirements import requirement
from meshproof.fixtures.shop import Shop
from meshproof.fixtures.statistics import probes_needed
from meshproof.fixtures.sweep import Connections, Replay, Sweep
from meshproof.fixtures.waits import IN_A_ROW, PATIENCE, eventually
from meshproof.fixtures.workloads import Pod

PACE_SECONDS = 0.01
"""Between two connections of one client where hundreds are counted."""


LOOK_SECONDS, LOOK_CONNECTIONS = 1.0, 150
"""Nothing changes while it is looked at; the bound is only to be shorter than so many connections take."""


@requirement("LB-01", needs={Feature.GLOBAL_SERVICES})
def test_equal_backends_take_equal_shares(pair: Pair, fleet: Fleet, sweep: Sweep, connections: Connections) -> None:
    """From the near cluster, connections spread evenly over all ready backends, counted by cluster and by pod."""
    far = pair.far
    eventually(
        sweep.own_pods(far),
        reached(far),
        since=sweep.since,
        within=pair.bounds.ready_seconds_max,
        in_a_row=3,
        name="the far backends answer in their own cluster by pod address",
        role=CONTROL,
    )

    asked = connections.requests()
    clusters, pods = shares_of(backend for cluster in fleet.clusters for backend in sweep.backends(cluster))
    distributed(asked, clusters, pods, since=asked.since, name="the shares fit the ready backends")


@requirement("LB-02", needs={Feature.GLOBAL_SERVICES}, mutates=True)
def test_shares_follow_the_number_of_backends(pair: Pair, shop: Shop) -> None:
    """With one backend near and three far, one connection in four is answered near: a share is per backend."""
    near, far = pair
    echo = shop.echo(pods={near: 1, far: 3})
    request = echo.requests(near, every_client=True, interval=PACE_SECONDS)
    eventually(
        request,
        reached(),
        including=each_of(echo.backends(near) + echo.backends(far)),
        within=pair.bounds.ready_seconds_max,
        in_a_row=probes_needed(echo.share(near)),
        name="every backend answers before",
        role=CONTROL,
    )

    clusters, pods = shares_of(echo.backends(near) + echo.backends(far))
    distributed(request, clusters, pods, name="the shares follow the number of backends")


@requirement("LB-03", needs={Feature.GLOBAL_SERVICES})
def test_every_ready_backend_answers(pair: Pair, fleet: Fleet, sweep: Sweep, connections: Connections) -> None:
    """Every client pod of the near cluster is answered by every ready backend, the far cluster's among them."""
    far = pair.far
    eventually(
        sweep.own_pods(far),
        reached(far),
        since=sweep.since,
        within=pair.bounds.ready_seconds_max,
        in_a_row=3,
        name="the far backends answer in their own cluster by pod address",
        role=CONTROL,
    )

    everyone = [backend for cluster in fleet.clusters for backend in sweep.backends(cluster)]
    enough = probes_needed(1 / len(everyone))
    asked = first_of(connections.requests(), LOOK_CONNECTIONS + enough)
    eventually(
        asked,
        reached(),
        including=each_of(everyone),
        since=asked.since,
        within=LOOK_SECONDS,
        in_a_row=enough,
        name="every ready backend answers",
    )


@requirement("LB-12", needs={Feature.GLOBAL_SERVICES, Feature.INTERNAL_TRAFFIC_POLICY}, mutates=True)
def test_whether_a_local_policy_keeps_remote_backends_out(pair: Pair, echo: Echo, shop: Shop) -> None:
    """With internalTrafficPolicy Local, whether the far cluster answers is observed and nothing is promised."""
    near, far = pair
    within = PATIENCE * pair.bounds.service_seconds_max
    local = shop.echo("local", internal_traffic_policy="Local")
    eventually(
        echo.requests(near, every_client=True),
        reached(),
        including=reached(far),
        within=within,
        in_a_row=probes_needed(echo.share(far)),
        name="the far cluster answers without the policy",
        role=CONTROL,
    )

    request = local.requests(near, every_client=True)
    eventually(request, reached(), within=within, in_a_row=1, name="somebody answers under the policy", role=CONTROL)
    observe(request, 2 * IN_A_ROW, name="internalTrafficPolicy Local")


@requirement("LB-13", needs={Feature.GLOBAL_SERVICES})
def test_the_server_sees_the_client_itself(pair: Pair, echo: Echo) -> None:
    """A far pod sees the near client pod's own address, through the global service and directly."""
    near, far = pair
    within = pair.bounds.service_seconds_max
    client = echo.client(near)
    by_itself = Match(outcome=Outcome.REACHED, peer=client.ip)
    eventually(
        echo.requests(near),
        reached(),
        including=reached(far),
        within=PATIENCE * within,
        in_a_row=probes_needed(echo.share(far)),
        name="the far cluster answers",
        role=CONTROL,
    )

    seen_as = "the server sees the client's pod address"
    eventually(echo.direct(near, far), by_itself, within=within, in_a_row=3, name=seen_as)
    eventually(
        echo.requests(near),
        by_itself,
        including=reached(far),
        within=within,
        in_a_row=probes_needed(echo.share(far)),
        name=seen_as,
    )


def shares_of(backends: Iterable[Pod]) -> tuple[Shares, Shares]:
    """Equal shares for these pods: by cluster, and by pod."""
    pods = tuple(backends)
    clusters = dict.fromkeys(pod.cluster for pod in pods)
    by_cluster = tuple((name, sum(pod.cluster == name for pod in pods) / len(pods)) for name in clusters)
    by_pod = tuple((f"{pod.cluster}/{pod.name}", 1 / len(pods)) for pod in pods)
    return Shares(CLUSTER, by_cluster), Shares(POD, by_pod)


def first_of(asked: Replay, count: int) -> Replay:
    """The first so many requests of each client pod, and since when it was really asked."""
    kept: Counter[Source] = Counter()
    rows = []
    for row in asked.seen:
        kept[row.source] += 1
        if kept[row.source] <= count:
            rows.append(row)
    return replace(asked, seen=rows, since=min((began(row)[0] for row in rows), default=asked.since))


def each_of(backends: Iterable[Pod]) -> tuple[Match, ...]:
    """An answer by each of these pods."""
    return tuple(answered_by([backend]) for backend in backends)
