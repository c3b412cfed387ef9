"""Endpoints that come and go in one cluster, and what the others make of it."""

from __future__ import annotations

from meshproof.clusters.fleet import Feature
from meshproof.fixtures.borrowed import Pair
from meshproof.fixtures.echo import Backends, answered_by, answered_without, reached, resolved
from meshproof.fixtures.history import CONTROL
from meshproof.fixtures.requirements import requirement
from meshproof.fixtures.shop import Shop
from meshproof.fixtures.slices import SYNCHRONISED, addresses, listed
from meshproof.fixtures.statistics import probes_needed
from meshproof.fixtures.steady import under_load
from meshproof.fixtures.together import unanswered
from meshproof.fixtures.waits import IN_A_ROW, PATIENCE, consistently, eventually


@requirement("DISC-11", needs={Feature.GLOBAL_SERVICES}, mutates=True)
def test_one_remote_cluster_does_not_cost_another(pair: Pair, shop: Shop) -> None:
    """When the far cluster's backends go and come, those of a third cluster stay in use, at every moment."""
    near, far = pair
    third = shop.others(near, far)[0]
    within = pair.bounds.endpoint_seconds_max
    echo = shop.echo(clusters=(near, far, third), backends={near: Backends.NONE})  # who loses the third has nobody left
    request, enough = echo.from_all_clients(near), probes_needed(echo.share(third))
    both = (reached(far), reached(third))
    before, back_again = "both remote clusters answer before", "the far backends come back"
    eventually(request, reached(), including=both, within=PATIENCE * within, in_a_row=enough, name=before, role=CONTROL)

    name = "the other cluster's backends stay in use"
    with under_load(request) as load:
        gone = echo.select(far, Backends.NONE)
        eventually(load, reached(third), since=gone.at, within=within, in_a_row=enough, name=name)
        back = echo.select(far, Backends.PODS)
        eventually(load, reached(), including=reached(third), since=back.at, within=within, in_a_row=enough, name=name)
        eventually(
            load,
            reached(),
            including=reached(far),
            since=back.at,
            within=within,
            in_a_row=enough,
            name=back_again,
            role=CONTROL,
        )
        removed = echo.remove(far)
        eventually(load, reached(third), since=removed.at, within=within, in_a_row=enough, name=name)
    load.none_lost(name=name)


@requirement("DISC-13", needs={Feature.GLOBAL_SERVICES, Feature.SELECTORLESS}, mutates=True)
def test_a_service_without_selector_finds_its_backends_again(pair: Pair, shop: Shop) -> None:
    """A near Service without selector is answered from afar, also after the far Service was deleted and made again."""
    near, far = pair
    within = pair.bounds.service_seconds_max
    echo = shop.echo(backends={near: Backends.SELECTORLESS})
    request = echo.requests(near)
    before = "the far cluster answers before"
    eventually(request, reached(far), within=PATIENCE * within, in_a_row=IN_A_ROW, name=before, role=CONTROL)

    echo.remove(far)
    unanswered(request, within=within, name="nobody answers without the far Service")
    again = echo.restore(far)

    name = "the far cluster answers again"
    eventually(request, reached(far), since=again.at, within=within, in_a_row=IN_A_ROW, name=name)


@requirement("DISC-15", needs={Feature.GLOBAL_SERVICES, Feature.ENDPOINT_SYNC}, mutates=True)
def test_a_headless_service_resolves_to_all_pods(pair: Pair, shop: Shop) -> None:
    """The name of a headless global Service stands for the ready pods of both clusters, and of nobody else."""
    near, far = pair
    echo = shop.echo(headless=True)
    own = [pod.ip for pod in echo.backends(near)]
    eventually(
        shop.echo("local", headless=True, is_global=None).resolve(near),
        resolved(addresses(own)),
        within=PATIENCE * pair.bounds.service_seconds_max,
        in_a_row=3,
        name="a headless Service that is not global resolves to its own pods",
        role=CONTROL,
    )

    eventually(
        echo.resolve(near),
        resolved(addresses([*own, *(pod.ip for pod in echo.backends(far))])),
        within=pair.bounds.service_seconds_max,
        in_a_row=IN_A_ROW,
        name="the name stands for the ready pods of all clusters",
    )


@requirement("DISC-16", needs={Feature.GLOBAL_SERVICES, Feature.ENDPOINT_SYNC}, mutates=True)
def test_endpoint_slices_follow_the_annotation(pair: Pair, shop: Shop) -> None:
    """Told to, a cluster holds EndpointSlices with the far pods' addresses, and told not to, it holds its own alone."""
    near, far = pair
    within = pair.bounds.service_seconds_max
    echo = shop.echo(annotations={SYNCHRONISED: "true"})
    own = [pod.ip for pod in echo.backends(near)]
    everywhere = [*own, *(pod.ip for pod in echo.backends(far))]
    slices = listed(shop, echo, near)
    on = "the slices hold the addresses of all clusters"
    eventually(slices, resolved(addresses(everywhere)), within=within, in_a_row=3, name=on)

    off = echo.annotate(near, annotations={SYNCHRONISED: "false"})

    alone = "the slices hold the cluster's own addresses alone"
    eventually(slices, resolved(addresses(own)), since=off.at, within=within, in_a_row=3, name=alone)


@requirement("DISC-17", needs={Feature.GLOBAL_SERVICES}, mutates=True)
def test_a_pod_that_is_not_ready_is_left_alone(pair: Pair, shop: Shop) -> None:
    """A far pod that turns not ready, and lives, gets no new connections from the near cluster."""
    near, far = pair
    bounds = pair.bounds
    echo = shop.echo(pods={far: 2}, backends={near: Backends.NONE})
    tired, _ = pods = echo.backends(far)
    request, each = echo.from_all_clients(near), tuple(answered_by([pod]) for pod in pods)
    both = "both far pods answer before"
    enough = probes_needed(1 / 2)
    within = bounds.service_seconds_max
    eventually(
        request, reached(far), including=each, within=PATIENCE * within, in_a_row=enough, name=both, role=CONTROL
    )

    off = echo.ready(far, False, pods=1)

    name = "the not-ready pod gets no new connections"
    others, within = answered_without([tired]), bounds.endpoint_seconds_max
    eventually(request, others, since=off.at, within=within, in_a_row=enough, name=name)
    consistently(request, others, during=bounds.watch_seconds, in_a_row=enough, name=name)
    lives = "the not-ready pod answers by its address"
    eventually(echo.direct(near, far), reached(far), within=PATIENCE * within, in_a_row=3, name=lives, role=CONTROL)
