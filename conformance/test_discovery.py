"""Global service discovery: one name and namespace, backends in every cluster, and who answers whom."""

from __future__ import annotations

from meshproof.clusters.fleet import Dialect, Feature
from meshproof.fixtures.borrowed import Pair
from meshproof.fixtures.echo import UNKNOWN_NAME, Backends, reached, resolved
from meshproof.fixtures.history import CONTROL
from meshproof.fixtures.requirements import requirement
from meshproof.fixtures.shop import Shop
from meshproof.fixtures.statistics import probes_needed
from meshproof.fixtures.sweep import Sweep
from meshproof.fixtures.together import Question, side_by_side
from meshproof.fixtures.waits import IN_A_ROW, PATIENCE, consistently, eventually


@requirement("DISC-01", needs={Feature.GLOBAL_SERVICES})
def test_every_cluster_answers_everywhere(pair: Pair, sweep: Sweep) -> None:
    """Clients of the near cluster that ask the global service are answered by both clusters."""
    near, far = pair
    bound = pair.bounds.service_seconds_max
    eventually(
        sweep.own_pods(far),
        reached(far),
        since=sweep.since,
        within=pair.bounds.ready_seconds_max,
        in_a_row=3,
        name="the far backends answer in their own cluster by pod address",
        role=CONTROL,
    )

    enough = probes_needed(min(sweep.share(near), sweep.share(far)))
    side_by_side(
        *(
            Question(
                sweep.requests(near, dialect),
                reached(),
                f"every cluster answers{pair.tag(dialect)}",
                enough,
                including=(reached(near), reached(far)),
            )
            for dialect in sweep.dialects
        ),
        since=sweep.since,
        within=bound,
    )


@requirement("DISC-02", needs={Feature.GLOBAL_SERVICES}, mutates=True)
def test_a_cluster_without_pods_is_served_from_afar(pair: Pair, shop: Shop) -> None:
    """In a cluster that has the Service and none of its pods, every answer is the far cluster's and none fails."""
    near, far = pair
    echoes = {d: shop.echo(pair.tag(d), dialect=d, backends={near: Backends.NONE}) for d in pair.dialects}
    direct = echoes[pair.dialects[0]].direct(near, far)
    within = pair.bounds.service_seconds_max
    eventually(
        direct,
        reached(far),
        within=PATIENCE * within,
        in_a_row=3,
        name="the far backends answer by pod address",
        role=CONTROL,
    )

    side_by_side(
        *(
            Question(echo.requests(near), reached(far), f"the far cluster answers{pair.tag(dialect)}", IN_A_ROW)
            for dialect, echo in echoes.items()
        ),
        within=within,
    )
    main = echoes[pair.dialects[0]].requests(near)
    consistently(main, reached(far), during=pair.bounds.watch_seconds, name="the far cluster answers")


@requirement("DISC-07", needs={Feature.GLOBAL_SERVICES}, mutates=True)
def test_a_name_needs_a_service(pair: Pair, shop: Shop) -> None:
    """A cluster without the Service object does not know its name, whatever the far cluster has."""
    near, far = pair
    within = pair.bounds.service_seconds_max
    abroad, known = shop.echo(clusters=(far,)), shop.echo("known", clusters=(near,))
    eventually(
        abroad.resolve(far),
        resolved(),
        within=PATIENCE * within,
        in_a_row=3,
        name="the name resolves where it is",
        role=CONTROL,
    )
    eventually(
        known.resolve(near),
        resolved(),
        within=PATIENCE * within,
        in_a_row=3,
        name="another name resolves here",
        role=CONTROL,
    )

    name = "the name does not resolve where there is no Service"
    eventually(abroad.resolve(near), UNKNOWN_NAME, within=within, in_a_row=IN_A_ROW, name=name)
    late = max(pair.bounds.watch_seconds, pair.bounds.endpoint_seconds_max)  # a name that comes late has come by then
    consistently(abroad.resolve(near), UNKNOWN_NAME, during=late, name=name)


@requirement("DISC-19", needs={Feature.GLOBAL_SERVICES, Feature.SVC_FLEET}, mutates=True)
def test_an_exported_service_has_a_name_in_the_fleet(pair: Pair, shop: Shop) -> None:
    """A Service marked fleet.azure.com/exported answers as <name>.<namespace>.svc.fleet from both clusters."""
    near, far = pair
    echo = shop.echo(dialect=Dialect.FLEET)
    eventually(
        echo.direct(near, far),
        reached(far),
        within=pair.bounds.ready_seconds_max,
        in_a_row=3,
        name="the far backends answer by pod address",
        role=CONTROL,
    )

    eventually(
        echo.requests(near, zone="fleet"),
        reached(),
        including=(reached(near), reached(far)),
        within=pair.bounds.ready_seconds_max,  # nothing changes here, and who asks too early may be told so for a while
        in_a_row=probes_needed(min(echo.share(near), echo.share(far))),
        name="every member answers by its svc.fleet name",
    )
    abroad = shop.echo("abroad", clusters=(far,), dialect=Dialect.FLEET)
    eventually(
        abroad.requests(near, zone="fleet"),
        reached(far),
        within=pair.bounds.ready_seconds_max,
        in_a_row=IN_A_ROW,
        name="a member without the Service is answered by the name too",
    )
