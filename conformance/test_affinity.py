"""Affinity: a cluster may prefer its own backends or the others', as long as those it prefers are healthy.

A change that changes nothing to be seen, such as none after absent, is made from a state that can be told from it: else
the answers of before would pass for the answers of after.
"""

from __future__ import annotations

from meshproof.clusters.fleet import Cluster, Dialect, Feature
from meshproof.fixtures.borrowed import Pair
from meshproof.fixtures.echo import ABSENT, Backends, Echo, answered_by, reached
from meshproof.fixtures.history import CONTROL
from meshproof.fixtures.measures import tally
from meshproof.fixtures.requirements import requirement
from meshproof.fixtures.shop import Shop
from meshproof.fixtures.statistics import probes_needed
from meshproof.fixtures.steady import under_load
from meshproof.fixtures.together import Question, side_by_side
from meshproof.fixtures.waits import IN_A_ROW, PATIENCE, consistently, eventually

SLOW_SECONDS = 0.6
"""Of an answer: a request is then under way, not only about to begin, when the backends change."""
NEEDS = {Feature.GLOBAL_SERVICES, Feature.AFFINITY}


@requirement("LB-04", needs=NEEDS, mutates=True, long=True)
def test_local_affinity_holds_while_a_local_backend_lives(pair: Pair, shop: Shop) -> None:
    """With affinity local every answer is local until the last local backend goes or is not ready, and then again."""
    near, far = pair
    bounds = pair.bounds
    echoes = _used_by_both(pair, shop)
    echo = echoes[pair.dialects[0]]
    request, enough = echo.from_all_clients(near), probes_needed(echo.share(far))

    local, at_home = "all answers are local", reached(near)
    preferred = [each.annotate(near, affinity="local") for each in echoes.values()][-1]
    side_by_side(
        *(Question(each.from_all_clients(near), at_home, local + pair.tag(d), enough) for d, each in echoes.items()),
        since=preferred.at,
        within=bounds.service_seconds_max,
    )
    consistently(request, at_home, during=bounds.watch_seconds, in_a_row=enough, name=local)

    within = bounds.endpoint_seconds_max
    gone = echo.select(near, Backends.NONE)
    failover = "the far cluster answers when no local backend lives"
    eventually(request, reached(far), since=gone.at, within=within, in_a_row=IN_A_ROW, name=failover)
    back = echo.select(near, Backends.PODS)
    eventually(request, at_home, since=back.at, within=within, in_a_row=enough, name=f"{local} again")
    _falls_over_to(far, shop.echo("tired", pods={near: 2}, affinity={near: "local"}), pair)
    alive = "the far backends still answer by pod address"
    eventually(echo.direct(near, far), reached(far), within=PATIENCE * within, in_a_row=3, name=alive, role=CONTROL)


@requirement("LB-05", needs=NEEDS, mutates=True)
def test_remote_affinity_holds_while_a_remote_backend_lives(pair: Pair, shop: Shop) -> None:
    """With affinity remote every answer is remote until the last remote backend goes, and again when one is back."""
    near, far = pair
    bounds = pair.bounds
    echoes = _used_by_both(pair, shop)
    echo = echoes[pair.dialects[0]]
    request, enough = echo.from_all_clients(near), probes_needed(echo.share(near))

    remote, away = "all answers are remote", reached(far)
    preferred = [each.annotate(near, affinity="remote") for each in echoes.values()][-1]
    side_by_side(
        *(Question(each.from_all_clients(near), away, remote + pair.tag(d), enough) for d, each in echoes.items()),
        since=preferred.at,
        within=bounds.service_seconds_max,
    )
    consistently(request, away, during=bounds.watch_seconds, in_a_row=enough, name=remote)

    within = bounds.endpoint_seconds_max
    gone = echo.select(far, Backends.NONE)
    fallback = "the near cluster answers when no remote backend lives"
    eventually(request, reached(near), since=gone.at, within=within, in_a_row=IN_A_ROW, name=fallback)
    back = echo.select(far, Backends.PODS)
    eventually(request, away, since=back.at, within=within, in_a_row=enough, name=f"{remote} again")
    _keeps_to_one(shop.echo("tired", pods={far: 2}, affinity={near: "remote"}), pair)
    alive = "the near backends still answer by pod address"
    eventually(echo.direct(near, near), reached(near), within=PATIENCE * within, in_a_row=3, name=alive, role=CONTROL)


@requirement("LB-06", needs=NEEDS, mutates=True)
def test_affinity_none_is_no_affinity(pair: Pair, echo: Echo) -> None:
    """The literal none uses both clusters, and the far one alone when the near one has no backend."""
    near, far = pair
    bounds = pair.bounds
    request = echo.from_all_clients(near)
    _prefer_local(pair, echo)

    said = echo.annotate(near, affinity="none")
    eventually(
        request,
        reached(),
        including=(reached(near), reached(far)),
        since=said.at,
        within=bounds.service_seconds_max,
        in_a_row=probes_needed(echo.share(near)),
        name="affinity none uses both clusters",
    )
    emptied = echo.select(near, Backends.NONE)
    remaining = "affinity none uses the far cluster when there is no local backend"
    within = bounds.endpoint_seconds_max
    eventually(request, reached(far), since=emptied.at, within=within, in_a_row=IN_A_ROW, name=remaining)
    consistently(request, reached(far), during=bounds.watch_seconds, in_a_row=IN_A_ROW, name=remaining)


@requirement("LB-07", needs=NEEDS, mutates=True)
def test_an_unknown_affinity_is_none(pair: Pair, echo: Echo) -> None:
    """A value that nobody defined is treated as none: both clusters answer."""
    near, far = pair
    _prefer_local(pair, echo)

    said = echo.annotate(near, affinity="nearest")
    eventually(
        echo.requests(near),
        reached(),
        including=(reached(near), reached(far)),
        since=said.at,
        within=pair.bounds.service_seconds_max,
        in_a_row=probes_needed(echo.share(near)),
        name="an unknown affinity uses both clusters",
    )


@requirement("LB-08", needs=NEEDS, mutates=True)
def test_affinity_stays_where_it_was_set(pair: Pair, echo: Echo) -> None:
    """Affinity set in the near cluster changes nothing for clients of the far one."""
    near, far = pair
    bounds = pair.bounds
    _prefer_local(pair, echo)
    # The far cluster is asked only when the near one has shown that the change has come, and a while later.
    row = probes_needed(echo.share(near))
    settled = "the near cluster keeps to itself"
    consistently(
        echo.requests(near), reached(near), during=bounds.watch_seconds, in_a_row=row, name=settled, role=CONTROL
    )

    both, used = (reached(near), reached(far)), "the peer still uses both clusters"
    within = bounds.service_seconds_max
    eventually(echo.requests(far), reached(), including=both, within=within, in_a_row=row, name=used)

    turned = echo.annotate(near, affinity="remote")
    shown = "the near cluster keeps to the other"
    eventually(
        echo.requests(near), reached(far), since=turned.at, within=within, in_a_row=row, name=shown, role=CONTROL
    )
    eventually(echo.requests(far), reached(), including=both, within=within, in_a_row=row, name=used)


@requirement("LB-09", needs=NEEDS, mutates=True, long=True)
def test_toggling_affinity_loses_nothing(pair: Pair, shop: Shop) -> None:
    """From none over local and remote to absent, while requests are under way, every single one is answered."""
    near, far = pair
    echo = shop.echo(pods={near: 1, far: 1})
    echo.slow(near, SLOW_SECONDS)
    echo.slow(far, SLOW_SECONDS)
    within = pair.bounds.service_seconds_max
    both, row = (reached(near), reached(far)), probes_needed(echo.share(near))
    request, acts = echo.requests(near), "each affinity takes effect"
    eventually(
        request,
        reached(),
        including=both,
        within=PATIENCE * within,
        in_a_row=row,
        name="both clusters answer before",
        role=CONTROL,
    )

    echo.annotate(near, affinity="none")
    with under_load(request) as load:
        local = echo.annotate(near, affinity="local")
        eventually(load, reached(near), since=local.at, within=within, in_a_row=row, name=acts)
        remote = echo.annotate(near, affinity="remote")
        eventually(load, reached(far), since=remote.at, within=within, in_a_row=row, name=acts)
        absent = echo.annotate(near, affinity=ABSENT)
        eventually(load, reached(), including=both, since=absent.at, within=within, in_a_row=row, name=acts)
    load.none_lost(name="no request is lost while affinity is toggled")


@requirement("LB-10", needs=NEEDS, mutates=True)
def test_the_first_local_backend_takes_it_all(pair: Pair, shop: Shop) -> None:
    """With affinity local the first local pod takes all traffic at once; what that costs is observed."""
    near, far = pair
    bounds = pair.bounds
    echo = shop.echo(pods={near: 1}, backends={near: Backends.NONE}, affinity={near: "local"})
    request = echo.from_all_clients(near)
    eventually(
        request,
        reached(far),
        within=PATIENCE * bounds.service_seconds_max,
        in_a_row=IN_A_ROW,
        name="the far cluster answers while there is no local backend",
        role=CONTROL,
    )

    with under_load(request) as load:
        begun = load.clock.now()
        first = echo.select(near, Backends.PODS)
        eventually(
            load,
            answered_by(echo.backends(near)),
            since=first.at,
            within=bounds.endpoint_seconds_max,
            in_a_row=IN_A_ROW,
            name="all answers come from the single local pod",
        )
    tally(load, since=begun, name="while the first local pod takes over")


def _keeps_to_one(echo: Echo, pair: Pair) -> None:
    """Of the far cluster's two pods one is not ready any more, and the other still gets all requests."""
    near, far = pair
    bounds, request, enough = pair.bounds, echo.from_all_clients(near), probes_needed(1 / 2)
    within, before = PATIENCE * bounds.service_seconds_max, "both remote backends answer before"
    each = tuple(answered_by([pod]) for pod in echo.backends(far))
    eventually(request, reached(far), including=each, within=within, in_a_row=enough, name=before, role=CONTROL)
    half = echo.ready(far, False, pods=1)
    left = "all answers are remote while one of the remote backends is ready"
    eventually(request, reached(far), since=half.at, within=bounds.endpoint_seconds_max, in_a_row=enough, name=left)
    consistently(request, reached(far), during=bounds.watch_seconds, in_a_row=enough, name=left)


def _falls_over_to(far: Cluster, echo: Echo, pair: Pair) -> None:
    """Of the near cluster's two pods, which live, one is not ready any more, and then the other."""
    near, bounds, request = pair.near, pair.bounds, echo.from_all_clients(pair.near)
    within, before = PATIENCE * bounds.service_seconds_max, "both local backends answer before"
    each = tuple(answered_by([pod]) for pod in echo.backends(near))
    enough = probes_needed(1 / 2)
    eventually(request, reached(near), including=each, within=within, in_a_row=enough, name=before, role=CONTROL)
    within = bounds.endpoint_seconds_max
    half = echo.ready(near, False, pods=1)
    left = "all answers are local while one of the local backends is ready"
    eventually(request, reached(near), since=half.at, within=within, in_a_row=enough, name=left)
    consistently(request, reached(near), during=bounds.watch_seconds, in_a_row=enough, name=left)
    none = echo.ready(near, False)
    failover = "the far cluster answers when no local backend is ready"
    eventually(request, reached(far), since=none.at, within=within, in_a_row=IN_A_ROW, name=failover)


def _used_by_both(pair: Pair, shop: Shop) -> dict[Dialect, Echo]:
    """A Service in each dialect, that the near cluster is answered by both clusters for."""
    near, far = pair
    echoes = {d: shop.echo(pair.tag(d), dialect=d) for d in pair.dialects}
    before, both = "both clusters answer before", (reached(near), reached(far))
    side_by_side(
        *(
            Question(
                each.from_all_clients(near),
                reached(),
                before + pair.tag(d),
                probes_needed(min(each.share(near), each.share(far))),
                including=both,
                role=CONTROL,
            )
            for d, each in echoes.items()
        ),
        within=PATIENCE * pair.bounds.service_seconds_max,
    )
    return echoes


def _prefer_local(pair: Pair, echo: Echo) -> None:
    """Both clusters answer, then with affinity local only the near one does: what comes next can be seen to come."""
    near, far = pair
    request, row = echo.requests(near), probes_needed(echo.share(far))
    within = PATIENCE * pair.bounds.service_seconds_max
    both = (reached(near), reached(far))
    before = "both clusters answer before"
    eventually(request, reached(), including=both, within=within, in_a_row=row, name=before, role=CONTROL)
    preferred = echo.annotate(near, affinity="local")
    shown = "affinity local takes effect before"
    eventually(request, reached(near), since=preferred.at, within=within, in_a_row=row, name=shown, role=CONTROL)
