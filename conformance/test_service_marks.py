"""What the marks of a service mean: global and shared, in every combination, and when they change."""

from __future__ import annotations

from meshproof.clusters.fleet import Feature
from meshproof.fixtures.borrowed import Pair
from meshproof.fixtures.echo import ABSENT, reached, reached_outside
from meshproof.fixtures.flowchart import FlowChart
from meshproof.fixtures.history import CONTROL
from meshproof.fixtures.requirements import requirement
from meshproof.fixtures.shop import Shop
from meshproof.fixtures.statistics import probes_needed
from meshproof.fixtures.together import Question, side_by_side
from meshproof.fixtures.waits import PATIENCE, consistently, eventually


@requirement("DISC-03", needs={Feature.GLOBAL_SERVICES, Feature.SHARED})
def test_the_flow_chart_says_who_is_used(pair: Pair, flowchart: FlowChart) -> None:
    """All sixteen combinations of global and shared give, on both sides, the backends of the documented chart."""
    near, far = pair
    enough = flowchart.enough
    used = "everybody uses the backends that the flow chart gives them"
    left = "nobody uses backends that the flow chart keeps from them"
    side_by_side(
        *(Question(seen, reached(), used, enough, reached(far)) for seen in flowchart.given(near, far)),
        *(Question(seen, reached(), used, enough, reached(near)) for seen in flowchart.given(far, near)),
        since=flowchart.since,
        within=pair.bounds.ready_seconds_max,  # nothing changes here: the Services were just made
    )
    side_by_side(
        *(Question(seen, reached_outside(far), left, enough) for seen in flowchart.kept(near, far)),
        *(Question(seen, reached_outside(near), left, enough) for seen in flowchart.kept(far, near)),
        since=flowchart.settled,  # a leak comes no sooner than what is given: before that, there would be none to see
        within=pair.bounds.ready_seconds_max,
    )


@requirement("DISC-04", needs={Feature.GLOBAL_SERVICES, Feature.SHARED}, mutates=True)
def test_unshared_backends_are_left_to_their_owner(pair: Pair, shop: Shop) -> None:
    """When the far cluster stops sharing, the near one leaves its backends alone, and it still uses both itself."""
    near, far = pair
    bounds = pair.bounds
    within = bounds.service_seconds_max
    echoes = {d: shop.echo(pair.tag(d), dialect=d) for d in pair.dialects}
    echo = echoes[pair.dialects[0]]
    enough = probes_needed(echo.share(far))
    before = "the far cluster answers before"
    side_by_side(
        *(
            Question(
                each.from_all_clients(near),
                reached(),
                before + pair.tag(d),
                enough,
                including=reached(far),
                role=CONTROL,
            )
            for d, each in echoes.items()
        ),
        within=PATIENCE * within,
    )

    unshared = [each.annotate(far, shared=False) for each in echoes.values()][-1]

    gone = "the peer stops using the unshared backends"
    side_by_side(
        *(
            Question(each.from_all_clients(near), reached_outside(far), gone + pair.tag(d), enough)
            for d, each in echoes.items()
        ),
        since=unshared.at,
        within=within,
    )
    everybody = echo.from_all_clients(near)
    consistently(everybody, reached_outside(far), during=bounds.watch_seconds, in_a_row=enough, name=gone)
    eventually(
        echo.requests(far),
        reached(),
        including=(reached(near), reached(far)),
        within=within,
        in_a_row=probes_needed(min(echo.share(near), echo.share(far))),
        name="the owner still uses both",
    )
    alive = "the far backends still answer by pod address"
    eventually(echo.direct(near, far), reached(far), within=PATIENCE * within, in_a_row=3, name=alive, role=CONTROL)


@requirement("DISC-05", needs={Feature.GLOBAL_SERVICES, Feature.SHARED}, mutates=True)
def test_backends_shared_again_are_used_again(pair: Pair, shop: Shop) -> None:
    """Without its `shared` annotation a global service is shared, so removing a "false" brings the backends back."""
    near, far = pair
    within = pair.bounds.service_seconds_max
    echo, other = shop.echo(shared={far: False}), shop.echo("other")
    request, enough = echo.from_all_clients(near), probes_needed(echo.share(far))
    before, news = "the near cluster answers alone before", "news of the far cluster comes"
    side_by_side(
        Question(other.requests(near), reached(), news, enough, including=reached(far), role=CONTROL),
        Question(request, reached(near), before, enough, role=CONTROL),
        within=PATIENCE * within,
    )

    again = echo.annotate(far, shared=ABSENT)

    side_by_side(
        Question(request, reached(), "the peer uses the far backends again", enough, including=reached(far)),
        Question(
            echo.requests(far),
            reached(),
            "the owner uses both",
            probes_needed(min(echo.share(near), echo.share(far))),
            including=(reached(near), reached(far)),
        ),
        since=again.at,
        within=within,
    )


@requirement("DISC-10", needs={Feature.GLOBAL_SERVICES}, mutates=True)
def test_a_changed_mark_counts_on_both_sides(pair: Pair, shop: Shop) -> None:
    """A service that one cluster marks "false" is soon local in both, and global again when it is marked so."""
    near, far = pair
    within, watch = pair.bounds.service_seconds_max, pair.bounds.watch_seconds
    echoes = {d: shop.echo(pair.tag(d), dialect=d) for d in pair.dialects}
    echo = echoes[pair.dialects[0]]
    enough = probes_needed(min(echo.share(near), echo.share(far)))
    both, before = (reached(near), reached(far)), "both clusters answer before"
    side_by_side(
        *(
            Question(each.from_all_clients(side), reached(), before + pair.tag(d), enough, including=both, role=CONTROL)
            for d, each in echoes.items()
            for side in pair
        ),
        within=PATIENCE * within,
    )

    local = [each.annotate(near, is_global=False) for each in echoes.values()][-1]  # the flow chart has the unmarked

    at_near, at_far = "the change takes effect in the near cluster", "the change takes effect in the far cluster"
    side_by_side(
        *(
            Question(each.from_all_clients(near), reached(near), at_near + pair.tag(d), enough)
            for d, each in echoes.items()
        ),
        *(
            Question(each.from_all_clients(far), reached(far), at_far + pair.tag(d), enough)
            for d, each in echoes.items()
        ),
        since=local.at,
        within=within,
    )
    consistently(echo.from_all_clients(near), reached(near), during=watch, in_a_row=enough, name=at_near)
    consistently(echo.from_all_clients(far), reached(far), during=watch, in_a_row=enough, name=at_far)

    again = echo.annotate(near, is_global=True)

    side_by_side(
        Question(echo.from_all_clients(near), reached(), at_near, enough, including=both),
        Question(echo.from_all_clients(far), reached(), at_far, enough, including=both),
        since=again.at,
        within=within,
    )
