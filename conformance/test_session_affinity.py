"""Session affinity: a client stays with its backend, in whichever cluster that is, until time or death part them.

One pin may stay by chance where pins are lost, so a client holds twenty at once: twenty ports of one Service, each with
a pin of its own. Of two backends, twenty drawn anew are all the old ones once in a million times.
"""

from __future__ import annotations

from meshproof.clusters.fleet import Feature
from meshproof.fixtures.borrowed import Pair
from meshproof.fixtures.echo import Backends, reached
from meshproof.fixtures.history import CONTROL, History, Match
from meshproof.fixtures.outcomes import Outcome
from meshproof.fixtures.requirements import requirement
from meshproof.fixtures.services import ServicePort
from meshproof.fixtures.shop import Shop
from meshproof.fixtures.waits import PATIENCE, eventually, stuck

PORTS = tuple(ServicePort(f"http-{n}", 80 + n, 8080) for n in range(20))
PACE_SECONDS = 0.2
"""Between two requests to one port; all ports are asked at a time."""
ROW = 9

LONG_SECONDS, BRIEF_SECONDS = 600, 1
IDLE_SECONDS = 1.6
"""Longer than the brief time-out, by more than clocks and schedulers may be late."""
TRIES = 12
"""So often drawn from four backends, it is the same one every time less than once in a million times."""


@requirement("LB-11", needs={Feature.GLOBAL_SERVICES, Feature.SESSION_AFFINITY}, mutates=True, long=True)
def test_a_client_stays_with_its_backend(pair: Pair, shop: Shop) -> None:
    """Pinned to far backends a client stays while others come and go, until its own are gone or its time ends."""
    near, far = pair
    bounds = pair.bounds
    echo = shop.echo(backends={near: Backends.NONE}, ports=PORTS, session_affinity_seconds=LONG_SECONDS)
    request, watch = echo.requests(near, every_port=True, interval=PACE_SECONDS), bounds.watch_seconds
    service, endpoint = bounds.service_seconds_max, bounds.endpoint_seconds_max
    answering = "the far cluster answers on every port"
    eventually(request, reached(far), within=PATIENCE * service, in_a_row=1, name=answering, role=CONTROL)

    pinned = stuck(request, during=watch, in_a_row=ROW, name="a client stays with one backend")
    pause = echo.requests(near, every_port=True, interval=IDLE_SECONDS)
    pinned = stuck(pause, during=0.1, in_a_row=2, after=pinned, name="a pause shorter than the time-out parts nobody")
    others = "a client stays with its backend when others come or go"
    arriving = max(watch, endpoint)  # a change that has not come yet puts no pin to the test
    echo.select(near, Backends.PODS)
    came = stuck(request, during=arriving, in_a_row=ROW, after=pinned, name=others)
    echo.select(near, Backends.NONE)
    stuck(request, during=arriving, in_a_row=ROW, after=came, name=others)

    echo.select(near, Backends.PODS)
    died = echo.select(far, Backends.NONE)
    moves, quick = "a client moves when its backend dies", echo.requests(near, every_port=True)
    eventually(quick, reached(near), since=died.at, within=endpoint, in_a_row=ROW, name=moves)
    stuck(request, during=watch, in_a_row=ROW, name="a client that moved stays with its new backend")
    alive = "the far pods still answer by pod address"
    eventually(echo.direct(near, far), reached(far), within=PATIENCE * service, in_a_row=3, name=alive, role=CONTROL)

    brief = shop.echo("brief", session_affinity_seconds=BRIEF_SECONDS)
    up = "somebody answers under the brief time-out"
    eventually(brief.requests(near), reached(), within=PATIENCE * service, in_a_row=1, name=up, role=CONTROL)
    elsewhere = away_from_the_last(shop.recorder.history())
    idle = brief.requests(near, interval=IDLE_SECONDS)
    within, ends = TRIES * (IDLE_SECONDS + 1), "a client may move when its time ends"
    eventually(idle, elsewhere, within=within, in_a_row=2, name=ends)


def away_from_the_last(history: History) -> Match:
    """An answer by another pod than the one that gave the last answer."""
    last = [row.by for _, row in history.observations() if row.by is not None][-1]
    return Match(outcome=Outcome.REACHED, not_pods=(last.pod,))
