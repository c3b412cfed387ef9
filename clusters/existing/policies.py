"""Policies of somebody else that may cut our probes: those that select every pod of a namespace, or of the cluster.

Our pods lie in namespaces that do not exist yet, so no policy of a namespace selects them now. But where most have a
policy that selects everything, something puts it there, and may put it into ours too. A cluster-wide policy that
selects every endpoint does select ours. We add no policy that allows our traffic: with one in force the network under
test would be another one. Probes that are cut leave their controls unanswered, and a case without its control is
`unknown`, never `failed`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from meshproof.clusters.fleet import Cluster

NAMESPACED = "/apis/networking.k8s.io/v1/networkpolicies"
CLUSTER_WIDE = "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies"
NAMESPACES = "/api/v1/namespaces"


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is. `blind`: why something could not be looked at."""

    closed: int
    """Namespaces with a policy that selects every pod in them."""
    namespaces: int
    wide: tuple[str, ...]
    """Names of cluster-wide policies that select every endpoint."""
    blind: tuple[str, ...] = ()

    @property
    def cuts(self) -> bool:
        """Whether probes may be cut."""
        return bool(self.wide) or self.closed * 2 > self.namespaces

    def __str__(self) -> str:
        told = [f"{self.closed} of {self.namespaces} namespaces have a policy that selects every pod"]
        if self.wide:
            told.append(f"cluster-wide policies that select every endpoint: {', '.join(self.wide)}")
        if self.cuts:
            told.append("where they reach our pods too, cases will be unknown")
        return "; ".join([*told, *self.blind])


def look(cluster: Cluster, *, cilium: bool) -> Seen:
    """Look at the policies of one cluster; what may not be seen is said."""
    blind: list[str] = []
    policies = _items(cluster, NAMESPACED, blind)
    closed = {each["metadata"]["namespace"] for each in policies if _selects_all(each["spec"].get("podSelector"))}
    wide = _items(cluster, CLUSTER_WIDE, blind) if cilium else []
    everywhere = tuple(
        each["metadata"]["name"] for each in wide for spec in _specs(each) if _selects_all(spec.get("endpointSelector"))
    )
    return Seen(len(closed), len(_items(cluster, NAMESPACES, blind)), everywhere, tuple(blind))


def _specs(policy: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return [each for each in (policy.get("spec"), *(policy.get("specs") or ())) if each]


def _selects_all(selector: dict[str, Any] | None) -> bool:
    return selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions")


def _items(cluster: Cluster, path: str, blind: list[str]) -> list[dict[str, Any]]:
    from kubernetes.client import ApiException

    from meshproof.clusters.api import call

    try:
        found: list[dict[str, Any]] = call(cluster, "GET", path).get("items") or []
    except ApiException as error:
        if error.status != 404:  # the API server does not know that kind: then there is none
            blind.append(f"{path.rpartition('/')[2]} could not be looked at ({error.status})")
        return []
    return found
