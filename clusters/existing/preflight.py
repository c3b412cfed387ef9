"""Can a run stand on clusters that somebody else made? Asked by `up` before anything is touched, and by `doctor`.

Everything here reads, but for one question that is spelled as a write: what would become of a namespace of ours, with
`dryRun=All`, which the API server answers after admission and stores nowhere. Each check is one sentence of what was
seen and one of what to type next. A check that passed can still be wrong later, so the run keeps its own errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from meshproof.clusters.existing import policies
from meshproof.clusters.existing.observation import GLOBAL_BY_DEFAULT, Observed, observe
from meshproof.clusters.existing.permissions import missing, needed
from meshproof.clusters.existing.provider import reach, twins
from meshproof.clusters.fleet import Cluster, EnvironmentUnfit, FleetSpec, Progress
from meshproof.clusters.ownership import MANAGED_BY, OURSELVES, PREFIX, RUN_LABEL

VERSION_MIN = (1, 26)
"""Of Kubernetes: the first whose scheduler heeds nodeTaintsPolicy, by which our pods are spread."""
ENFORCE = "pod-security.kubernetes.io/enforce"
FLEET = "(all)"


@dataclass(frozen=True, slots=True)
class Check:
    """One answer: what was seen in one cluster, and what to do about it (empty when ok)."""

    cluster: str
    name: str
    ok: bool
    seen: str
    fix: str = ""
    required: bool = True
    """A run cannot be without it; else it is a warning."""


def checks(spec: FleetSpec) -> list[Check]:
    """Every check of every cluster, also after one that failed. Raises EnvironmentUnfit for a context there is not."""
    clusters = reach(spec)
    with ThreadPoolExecutor(len(clusters)) as pool:
        looks = list(pool.map(_look, clusters))
    seen = {cluster: its for cluster, its in zip(clusters, looks, strict=True) if isinstance(its, Observed)}
    told = [
        Check(
            c.name,
            "identity",
            ok=False,
            seen=str(error),
            fix=f"try: kubectl --context '{c.context}' get --raw /version",
        )
        for c, error in zip(clusters, looks, strict=True)
        if isinstance(error, EnvironmentUnfit)
    ]
    with ThreadPoolExecutor(len(clusters)) as pool:
        each = pool.map(lambda pair: list(_each(spec, *pair)), seen.items())
        told += [check for found in each for check in found]
    return [*told, *_together(spec, seen)]


def require(spec: FleetSpec, progress: Progress) -> None:
    """Raises EnvironmentUnfit with every required check that failed, a line each; warnings go to `progress`."""
    failed = [check for check in checks(spec) if not check.ok]
    for check in failed:
        if not check.required:
            progress(f"warning: {check.cluster}: {check.seen}; {check.fix}")
    if required := [f"{check.cluster}: {check.seen}; {check.fix}" for check in failed if check.required]:
        raise EnvironmentUnfit("\n".join(required))


def _look(cluster: Cluster) -> Observed | EnvironmentUnfit:
    try:
        return observe(cluster)
    except EnvironmentUnfit as error:
        return error


def _each(spec: FleetSpec, cluster: Cluster, its: Observed) -> Iterator[Check]:
    mesh = spec.mesh or its.mesh
    for name, check in (
        ("identity", lambda: _identity(cluster, its)),
        ("version", lambda: _version(cluster, its)),
        ("permissions", lambda: _permissions(cluster, mesh, spec)),
        ("namespace", lambda: _namespace(cluster)),
        ("nodes", lambda: _nodes(cluster, its)),
        ("mesh", lambda: _mesh(cluster, its, mesh)),
        ("policies", lambda: _policies(cluster, mesh)),
    ):
        yield from _tried(cluster, name, check)


def _tried(cluster: Cluster, name: str, check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """A check that falls over has failed, and hides no other one."""
    from meshproof.clusters.api import described

    try:
        yield from list(check())
    except Exception as error:  # noqa: BLE001 - whatever the client raises
        yield Check(cluster.name, name, ok=False, seen=f"could not be looked at: {described(error)}", fix="try again")


def _identity(cluster: Cluster, its: Observed) -> Iterator[Check]:
    from meshproof.clusters.clients import kept_client

    server = kept_client(cluster).configuration.host
    you = whoami(cluster)
    seen = f"context {cluster.context}, {server}, kube-system {its.uid}{f', you are {you}' if you else ''}"
    yield Check(cluster.name, "identity", ok=True, seen=seen)


def whoami(cluster: Cluster) -> str:
    """The name by which the API server knows whoever asks; empty when it does not tell (before 1.28)."""
    from kubernetes.client import ApiException

    from meshproof.clusters.api import call

    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        told = call(cluster, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
    except ApiException:
        return ""
    return str(told["status"]["userInfo"].get("username", ""))


def _version(cluster: Cluster, its: Observed) -> Iterator[Check]:
    parts = re.match(r"v?(\d+)\.(\d+)", its.version)
    ok = parts is not None and (int(parts[1]), int(parts[2])) >= VERSION_MIN
    least = ".".join(map(str, VERSION_MIN))
    yield Check(cluster.name, "version", ok, f"Kubernetes {its.version}", "" if ok else f"use {least} or newer")


def _permissions(cluster: Cluster, mesh: str, spec: FleetSpec) -> Iterator[Check]:
    lines = needed(mesh, disruption=spec.disruption and not spec.managed)
    lacking = missing(cluster, lines)
    who = whoami(cluster)
    account = who.removeprefix("system:serviceaccount:")
    subject = f"serviceaccount:{account}" if account != who else f"user:{who or 'YOU'}"
    granting = f"meshproof rbac --subject '{subject}' | kubectl --context '{cluster.context}' apply -f -"
    words = f"let its administrator type: {granting}"
    for required in (True, False):
        if its := [line for line in lacking if line.required is required]:
            seen = f"you may not {'; '.join(map(str, its))}"
            yield Check(cluster.name, "permissions", ok=False, seen=seen, fix=words, required=required)
    if not lacking:
        asked = sum(len(line.verbs) * max(1, len(line.names)) for line in lines)
        yield Check(cluster.name, "permissions", ok=True, seen=f"all {asked} that a run needs")


def _namespace(cluster: Cluster) -> Iterator[Check]:
    """What admission would make of a namespace of ours; it is not made."""
    from kubernetes.client import ApiException

    from meshproof.clusters.api import call, described

    labels = {MANAGED_BY: OURSELVES, RUN_LABEL: "preflight", ENFORCE: "restricted"}
    metadata = {"name": f"{PREFIX}preflight", "labels": labels}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    try:
        made: dict[str, Any] = call(cluster, "POST", "/api/v1/namespaces", body, query={"dryRun": "All"})
    except ApiException as error:
        why = described(error)
        fix = f"let whoever refuses it admit namespaces labelled {MANAGED_BY}={OURSELVES}"
        yield Check(cluster.name, "namespace", ok=False, seen=f"a namespace of ours would be refused: {why}", fix=fix)
        return
    got = made["metadata"].get("labels") or {}
    changed = {key: got.get(key, "none") for key, value in labels.items() if got.get(key) != value}
    if changed:
        told = ", ".join(f"{key}={value}" for key, value in changed.items())
        fix = f"let admission leave the labels of namespaces as they are that have {MANAGED_BY}={OURSELVES}"
        yield Check(cluster.name, "namespace", ok=False, seen=f"admission would change it: {told}", fix=fix)
        return
    added = sorted(set(got) - set(labels) - {"kubernetes.io/metadata.name"})
    more = f"; admission adds {', '.join(added)}" if added else ""
    yield Check(cluster.name, "namespace", ok=True, seen=f"would be admitted, PodSecurity restricted enforced{more}")


def _nodes(cluster: Cluster, its: Observed) -> Iterator[Check]:
    networks = ", ".join(its.pod_networks) or "not told"
    seen = f"{its.nodes} take pods; pod networks {networks}, service network {its.service_network or 'not told'}"
    fix = {0: "make a node ready for pods without tolerations", 1: "two or more spread the clients, and show more"}
    yield Check(cluster.name, "nodes", its.nodes > 1, seen, fix.get(its.nodes, ""), required=its.nodes == 0)


def _mesh(cluster: Cluster, its: Observed, mesh: str) -> Iterator[Check]:
    if not mesh:
        seen = "no sign of a mesh: kube-system has no cilium-config and no reference-mesh-status that you may see"
        fix = "install one, or say it by --mesh or in the fleet file"
        yield Check(cluster.name, "mesh", ok=False, seen=seen, fix=fix)
        return
    words = [
        f"{mesh}, which it looks like"
        if mesh == its.mesh
        else f"{mesh}, as you say; it looks like {its.mesh or 'none'}"
    ]
    if its.cilium is not None:
        words += [its.cilium_version and f"version {its.cilium_version}"]
        words += [
            f"{key} {its.cilium[key]}" for key in ("cluster-name", "cluster-id", GLOBAL_BY_DEFAULT) if key in its.cilium
        ]
    alone = its.cilium is not None and its.id == 0
    fix = "give it a cluster id of its own (cluster.id in Cilium's Helm values) and join it" if alone else ""
    yield Check(cluster.name, "mesh", not alone, ", ".join(filter(None, words)), fix)


def _policies(cluster: Cluster, mesh: str) -> Iterator[Check]:
    seen = policies.look(cluster, cilium=mesh in ("cilium", "aks-fleet"))
    fix = f"have whatever makes them spare namespaces labelled {MANAGED_BY}={OURSELVES}" if seen.cuts else ""
    yield Check(cluster.name, "policies", not seen.cuts, str(seen), fix, required=False)


def _together(spec: FleetSpec, seen: dict[Cluster, Observed]) -> Iterator[Check]:
    """What holds for all of them, or does not."""
    if same := twins(seen):
        yield Check(FLEET, "distinct", ok=False, seen=same, fix="name one context for each cluster")
    elif len(seen) > 1:
        yield Check(FLEET, "distinct", ok=True, seen=f"{len(seen)} clusters, each with a kube-system UID of its own")
    for what, given, guesses in (
        ("mesh", spec.mesh, {c.name: its.mesh for c, its in seen.items()}),
        ("profile", spec.profile, {c.name: its.profile for c, its in seen.items()}),
    ):
        agreed = len(set(guesses.values())) <= 1
        guess = next(iter(guesses.values()), "")
        told = ", ".join(f"{cluster} looks like {word or 'none'}" for cluster, word in guesses.items())
        word = f"{given}, as you say" if given else f"{guess or 'not known'}, as it looks" if agreed else told
        ok = bool(given or (agreed and guess))
        yield Check(FLEET, what, ok, word, "" if ok else f"say it by --{what}, or in a fleet file")
    ids = [its.id for its in seen.values() if its.id]
    if len(set(ids)) < len(ids):
        fix = "give each cluster an id of its own: with one id for two a mesh cannot work"
        yield Check(FLEET, "ids", ok=False, seen=f"cluster ids are {', '.join(map(str, ids))}", fix=fix, required=False)
