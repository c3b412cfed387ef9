"""Names under `svc.fleet`: `<name>.<namespace>.svc.fleet` answers in every member (the `resolve` seam).

For each service that some member exports, every member's exporter keeps a Service without selector in the namespace
`fleet-services`, `<name>--<namespace>`. CoreDNS rewrites the one name to the other, so that the answer is a
ClusterIP of the own cluster, and the agents balance it over all members that export the service. So a member needs
neither the Service nor the namespace, and the names of cluster.local stay as they were.

The Services that the mesh keeps bear its label; it touches no others. A name is removed only when every
peer was heard whole since the start, or was revoked: silence is nobody's word.
Limits: name and namespace together have 61 characters at most and a namespace no `--`; where ports differ,
those of the member with the lowest id count.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from meshproof.clusters.meshes.reference.records import LABEL, Key, Port, Record
from meshproof.clusters.meshes.reference.selection import GLOBAL, SHARED
from meshproof.clusters.meshes.reference.world import MANAGED_BY, STANDS_FOR, Service
from meshproof.clusters.rest import Api, ApiError, Object

Exports = Mapping[str, Mapping[Key, Record]]
"""Cluster -> what it shares; the own cluster is one of them."""

Place = tuple[str, str]
"""(namespace, name) of a Service that the mesh keeps in the own cluster."""

FLEET_NAMESPACE = "fleet-services"
PATH = "/api/v1/namespaces/{}/services"
GONE, CONFLICT = 404, 409
AT_ONCE = 4
"""Calls of the API server side by side; in a row, the last of a dozen names waited for seconds on a busy machine."""

Step = tuple[str, Place, Object]
"""create, change or delete; where; and the Service, which for a deletion is of no importance."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Name:
    """What a kept Service stands for."""

    stands_for: Key
    ports: tuple[Port, ...]


Names = Mapping[Place, Name]


def resolve(exports: Exports) -> Names:
    """A place for every service that any member exports; those that can have no name are left out."""
    records = sorted((r for shared in exports.values() for r in shared.values() if r.exported), key=_rank, reverse=True)
    return {place: Name(r.key, r.ports) for r in records if (place := place_of(r.key)) is not None}


def _rank(record: Record) -> int:
    return record.member.id


def place_of(key: Key) -> Place | None:
    """Where CoreDNS looks for the exported service `key`; None when it cannot have a name."""
    namespace, name = key
    whole = f"{name}--{namespace}"
    return (FLEET_NAMESPACE, whole) if "--" not in namespace and LABEL.fullmatch(whole) else None


class Zone:
    """A thread that keeps the mesh's own Services as they should be; `want` returns at once."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._wanted = threading.Condition()
        self._steps: list[Step] = []
        threading.Thread(target=self._run, name="names", daemon=True).start()

    def want(self, names: Names, services: Mapping[Key, Service], *, complete: bool) -> None:
        """Have these names, given the Services there are; what is too many goes only when `names` is `complete`.

        A Service that somebody else made is never touched; where it stands in the place of a name there is no name.
        """
        asked = list(steps(names, services, complete=complete))
        with self._wanted:
            self._steps = asked
            if asked:
                self._wanted.notify()

    def _run(self) -> None:
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="name") as pool:
            while True:
                with self._wanted:
                    while not self._steps:
                        self._wanted.wait()
                    asked, self._steps = self._steps, []
                list(pool.map(self._take, asked))  # a place is in it once, so no two calls are about the same Service

    def _take(self, step: Step) -> None:
        """One call. What fails is asked for again at the next evaluation; a step taken twice does no harm."""
        verb, place, body = step
        path = PATH.format(place[0])
        try:
            match verb:
                case "create":
                    self._api.post(path, body)
                case "change":
                    self._api.patch(f"{path}/{place[1]}", body)
                case _:
                    self._api.delete(f"{path}/{place[1]}")
            log.info("%s %s/%s", verb, *place)
        except ApiError as error:
            if error.status != CONFLICT and (verb, error.status) != ("delete", GONE):
                log.warning("%s %s/%s: %s", verb, *place, error)
        except Exception:  # one odd name must not end the thread that keeps all of them
            log.exception("%s %s/%s", verb, *place)


def steps(names: Names, services: Mapping[Key, Service], *, complete: bool) -> Iterator[Step]:
    """What leads from the Services there are to these names."""
    for place, name in names.items():
        there = services.get(place)
        if there is None:
            yield "create", place, bearer(place, name)
        elif there.stands_for is not None and (there.stands_for, there.ports) != (name.stands_for, name.ports):
            yield "change", place, bearer(place, name)
    if complete:
        for place, service in services.items():
            if service.stands_for is not None and place not in names:
                yield "delete", place, {}


def bearer(place: Place, name: Name) -> Object:
    """The Service that bears a name: it imports from everybody and shares nothing."""
    notes = {STANDS_FOR: "/".join(name.stands_for), GLOBAL[0]: "true", SHARED[0]: "false"}
    labels = dict([MANAGED_BY])
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": place[0], "name": place[1], "annotations": notes, "labels": labels},
        "spec": {"ports": [{"name": p.name, "protocol": p.protocol, "port": p.number} for p in name.ports]},
    }
