"""What in a cluster is ours, and which requests may change what is not.

Everything a run makes lies in namespaces whose names begin with `mp-`, and carries two labels: who made it, and which
run. In clusters that somebody else made nothing else may be written. `refusal` is that rule, as a pure function over a
request; `clients` holds every request of the harness to it, so that no case, fixture or mesh can forget.

A namespace of that name that is not ours is not protected by its name: whoever deletes one looks at its labels first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from meshproof.clusters.fleet import EnvironmentUnfit, Writes

PREFIX = "mp-"
"""How the names of our namespaces begin."""
MANAGED_BY, OURSELVES = "app.kubernetes.io/managed-by", "meshproof"
RUN_LABEL = "meshproof.dev/run"

READS = frozenset({"GET", "HEAD", "OPTIONS"})
_QUESTIONS = re.compile(
    r"/apis/authorization\.k8s\.io/v1/selfsubject\w+|/apis/authentication\.k8s\.io/v1/selfsubjectreviews"
)
_NAMESPACES = "/api/v1/namespaces"
_INSIDE = re.compile(rf"{_NAMESPACES}/(?P<one>[^/]+)|/apis/[^/]+/[^/]+/namespaces/(?P<other>[^/]+)/.+")
_SETTINGS = f"{_NAMESPACES}/kube-system/configmaps"
_OF_THE_MESH = ("reference-mesh-config", "cilium-config")


class NotOurs(EnvironmentUnfit):
    """A request would have changed what is somebody else's; it was not sent."""


def refusal(writes: Writes, method: str, path: str, body: object) -> str:
    """Why this request may not be sent to such a cluster; empty when it may. `path` is without server and query."""
    method = method.upper()
    if writes is Writes.ALL or method in READS or _QUESTIONS.fullmatch(path):
        return ""
    if _configures(method, path, body):
        need = "it would change the mesh, which needs --allow-disruption, and which no managed mesh allows"
        return "" if writes is Writes.MESH else need
    if "%" in path or ".." in path:
        return "nobody can say what that path means"
    named = _INSIDE.match(path)
    name = (named["one"] or named["other"]) if named else _name(body) if path == _NAMESPACES else ""
    if not name.startswith(PREFIX):
        return f"it is not about a namespace of ours ({PREFIX}…)"
    if method in ("POST", "PUT") and not labelled(body):
        return f"what it makes is not labelled {MANAGED_BY} and {RUN_LABEL}"
    return ""


def _configures(method: str, path: str, body: object) -> bool:
    """Whether it makes or changes one of the ConfigMaps that a mesh is configured by."""
    if method == "POST":
        return path == _SETTINGS and _name(body) in _OF_THE_MESH
    return method in ("PATCH", "PUT") and path in {f"{_SETTINGS}/{name}" for name in _OF_THE_MESH}


def labelled(thing: object) -> bool:
    """Whether an API object, as plain data, carries our labels."""
    labels: Any = _metadata(thing).get("labels") or {}
    return labels.get(MANAGED_BY) == OURSELVES and bool(labels.get(RUN_LABEL))


def _name(body: object) -> str:
    return str(_metadata(body).get("name") or "")


def _metadata(thing: object) -> Mapping[str, Any]:
    found = thing.get("metadata") if isinstance(thing, Mapping) else None
    return found if isinstance(found, Mapping) else {}
