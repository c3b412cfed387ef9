"""Namespaces: services are merged within one of them, and only in those that take part in the mesh."""

from __future__ import annotations

from meshproof.clusters.fleet import Feature
from meshproof.fixtures.borrowed import Pair
from meshproof.fixtures.echo import reached
from meshproof.fixtures.history import CONTROL
from meshproof.fixtures.requirements import requirement
from meshproof.fixtures.services import IN, OUT
from meshproof.fixtures.shop import Shop
from meshproof.fixtures.statistics import probes_needed
from meshproof.fixtures.together import Question, side_by_side
from meshproof.fixtures.waits import IN_A_ROW, PATIENCE, consistently, eventually


@requirement("DISC-06", needs={Feature.GLOBAL_SERVICES}, mutates=True)
def test_another_namespace_is_another_service(pair: Pair, shop: Shop) -> None:
    """Two Services of one name in two namespaces: each is answered by the pods of its own, near and far."""
    near, far = pair
    within = pair.bounds.service_seconds_max
    here = shop.echo()
    there = shop.echo(namespace=shop.annex(), pods={far: 1})
    alive = "the other namespace's pod answers by pod address"
    eventually(there.direct(near, far), reached(far), within=PATIENCE * within, in_a_row=3, name=alive, role=CONTROL)

    name = "no answer comes from another namespace"
    enough, both = probes_needed(here.share(far)), (reached(near), reached(far))
    side_by_side(
        Question(here.requests(near), reached(), name, enough, including=both),
        Question(there.requests(near), reached(far), name, IN_A_ROW),
        within=within,
    )
    consistently(here.requests(near), reached(), during=pair.bounds.watch_seconds, name=name)


@requirement("DISC-08", needs={Feature.GLOBAL_SERVICES, Feature.NAMESPACE_GATE}, mutates=True)
def test_a_namespace_that_takes_no_part_keeps_its_services(pair: Pair, shop: Shop) -> None:
    """Where the namespace is not global, the mark of a Service means nothing, in either cluster."""
    near, far = pair
    within = pair.bounds.service_seconds_max
    echo, other = shop.echo(namespace=shop.annex(OUT), pods={near: 1, far: 1}), shop.echo("other")
    alive = "the far backend answers by pod address"
    eventually(echo.direct(near, far), reached(far), within=PATIENCE * within, in_a_row=3, name=alive, role=CONTROL)

    name, taken = "a Service of a namespace that is not global stays local", "one of a namespace that is does not"
    enough = probes_needed(other.share(far))
    side_by_side(
        Question(other.requests(near), reached(), taken, enough, including=reached(far), role=CONTROL),
        Question(echo.requests(near), reached(near), name, IN_A_ROW),
        Question(echo.requests(far), reached(far), name, IN_A_ROW),
        within=within,
    )
    consistently(echo.requests(near), reached(near), during=pair.bounds.watch_seconds, name=name)

    half = shop.echo("half", namespace=shop.namespace(annotations=IN), pods={near: 1, far: 1})
    enough, both = probes_needed(half.share(far)), (reached(near), reached(far))
    before = "both clusters answer while the namespace is global in both"
    long = PATIENCE * within
    eventually(half.requests(far), reached(), including=both, within=long, in_a_row=enough, name=before, role=CONTROL)
    alone = shop.annotate_namespace(half, OUT, clusters=(near,))
    apart = "where only one of them takes part, each cluster stays by itself"
    side_by_side(
        Question(half.from_all_clients(near), reached(near), apart, enough),
        Question(half.from_all_clients(far), reached(far), apart, enough),
        since=alone.at,
        within=within,
    )


@requirement("DISC-09", needs={Feature.GLOBAL_SERVICES, Feature.NAMESPACE_GATE}, mutates=True)
def test_a_namespace_can_leave_the_mesh(pair: Pair, shop: Shop) -> None:
    """When a namespace takes part no longer and its Services are applied again, each cluster sees its own alone."""
    near, far = pair
    within = pair.bounds.service_seconds_max
    echo = shop.echo(namespace=shop.namespace(annotations=IN), pods={near: 1, far: 1})
    enough, both = probes_needed(echo.share(far)), (reached(near), reached(far))
    side_by_side(
        Question(echo.from_all_clients(near), reached(), "near uses both before", enough, including=both, role=CONTROL),
        Question(echo.from_all_clients(far), reached(), "far uses both before", enough, including=both, role=CONTROL),
        within=PATIENCE * within,
    )

    left = shop.annotate_namespace(echo, OUT)

    name = "each cluster sees only its own backends"
    side_by_side(
        Question(echo.from_all_clients(near), reached(near), name, enough),
        Question(echo.from_all_clients(far), reached(far), name, enough),
        since=left.at,
        within=within,
    )
    everybody = echo.from_all_clients(near)
    consistently(everybody, reached(near), during=pair.bounds.watch_seconds, in_a_row=enough, name=name)
    alive = "the far backend still answers by pod address"
    eventually(echo.direct(near, far), reached(far), within=PATIENCE * within, in_a_row=3, name=alive, role=CONTROL)
