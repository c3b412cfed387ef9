"""Ports and protocols: which ports of two Services belong together, and that UDP is served as TCP is."""

from __future__ import annotations

from meshproof.clusters.fleet import Feature
from meshproof.fixtures.borrowed import Pair
from meshproof.fixtures.echo import Backends, reached
from meshproof.fixtures.history import CONTROL
from meshproof.fixtures.requirements import requirement
from meshproof.fixtures.services import HTTP, UDP, ServicePort
from meshproof.fixtures.shop import Shop
from meshproof.fixtures.statistics import probes_needed
from meshproof.fixtures.together import Question, side_by_side
from meshproof.fixtures.waits import IN_A_ROW, PATIENCE, consistently, eventually

SEVERAL = (HTTP, ServicePort("alternate", 8080, 8080), ServicePort("metrics", 9090, 8080))
UNNAMED, RENAMED = (ServicePort("", 80, 8080),), (ServicePort("web", 80, 8080),)


@requirement("DISC-12", needs={Feature.GLOBAL_SERVICES}, mutates=True)
def test_each_port_finds_its_like(pair: Pair, shop: Shop) -> None:
    """Ports belong together by name, whatever they stand for: several with one target, and one without a name."""
    near, far = pair
    within = pair.bounds.service_seconds_max
    several, unnamed = shop.echo(ports=SEVERAL), shop.echo("unnamed", ports=UNNAMED)
    renamed = shop.echo("renamed", ports={near: (HTTP,), far: RENAMED})
    alive = "the far backends answer by pod address"
    eventually(several.direct(near, far), reached(far), within=PATIENCE * within, in_a_row=3, name=alive, role=CONTROL)

    every, nameless = "every port reaches the far cluster", "an unnamed port reaches the far cluster"
    enough = probes_needed(several.share(far))
    side_by_side(
        *(
            Question(several.requests(near, port=port.port), reached(), every, enough, including=reached(far))
            for port in SEVERAL
        ),
        Question(unnamed.requests(near), reached(), nameless, enough, including=reached(far)),
        within=within,
    )
    other = "a port of another name has no far backends"
    everybody = renamed.from_all_clients(near)
    eventually(everybody, reached(near), within=within, in_a_row=enough, name=other)
    consistently(everybody, reached(near), during=pair.bounds.watch_seconds, in_a_row=enough, name=other)


@requirement("DISC-14", needs={Feature.GLOBAL_SERVICES, Feature.UDP}, mutates=True)
def test_udp_is_served_as_tcp_is(pair: Pair, shop: Shop) -> None:
    """Datagrams reach the far cluster, and a flow whose backend is gone is taken up by one that lives."""
    near, far = pair
    bounds = pair.bounds
    echo = shop.echo(ports=(UDP,), pods={far: 1}, backends={near: Backends.NONE})
    alive = "the far backend answers by pod address"
    eventually(
        echo.direct(near, far),
        reached(far),
        within=PATIENCE * bounds.service_seconds_max,
        in_a_row=3,
        name=alive,
        role=CONTROL,
    )

    flow = echo.requests(near, source_port=shop.own_port())
    eventually(
        echo.requests(near),
        reached(far),
        within=bounds.service_seconds_max,
        in_a_row=IN_A_ROW,
        name="UDP requests reach the far cluster",
    )
    bound = "one flow is answered by the far backend"
    eventually(flow, reached(far), within=PATIENCE * bounds.service_seconds_max, in_a_row=3, name=bound, role=CONTROL)

    echo.select(near, Backends.PODS)
    eventually(
        echo.requests(near),
        reached(),
        including=reached(near),
        within=PATIENCE * bounds.service_seconds_max,
        in_a_row=probes_needed(echo.share(near)),
        name="the near backends answer as well",
        role=CONTROL,
    )
    kept = "the flow is still the far backend's"  # one that has moved by then would not be put to the test
    eventually(flow, reached(far), within=PATIENCE * bounds.service_seconds_max, in_a_row=3, name=kept, role=CONTROL)
    scaled = echo.scale(far, 0)

    name = "after the scale-down only living backends answer"
    side_by_side(
        Question(flow, reached(near), name, IN_A_ROW),
        Question(echo.from_all_clients(near), reached(near), name, IN_A_ROW),
        since=scaled.at,
        within=bounds.endpoint_seconds_max,
    )
