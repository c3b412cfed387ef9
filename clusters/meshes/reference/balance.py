"""All that one component decides, remade only where something changed.

Every decision about a service follows from a handful of values; while they are equal, so is the decision. What
is remembered here is that and nothing more: a new pipeline decides everything anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from meshproof.clusters.meshes.reference.merge import Frontend, Imported, own
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Key, Member, Record
from meshproof.clusters.meshes.reference.world import World

Made = TypeVar("Made")
Inputs = tuple[Any, ...]


class _Memo(Generic[Made]):
    """The last result for each service, with what it was made of. Comparing costs little while most is identical."""

    def __init__(self) -> None:
        self._pipeline: Pipeline | None = None
        self._made: dict[Key, tuple[Inputs, Made]] = {}

    def remake(self, pipeline: Pipeline, inputs: Iterable[tuple[Key, Inputs]], make: Callable[..., Made]) -> list[Made]:
        before = self._made if pipeline is self._pipeline else {}
        made: dict[Key, tuple[Inputs, Made]] = {}
        for key, given in inputs:
            known = before.get(key)
            made[key] = known if known is not None and known[0] == given else (given, make(*given))
        self._pipeline, self._made = pipeline, made
        return [result for _, result in made.values()]


class Balance:
    """An agent's decisions."""

    def __init__(self) -> None:
        self._memo: _Memo[tuple[Frontend, ...]] = _Memo()

    def frontends(self, pipeline: Pipeline, world: World, imported: Imported) -> tuple[Frontend, ...]:
        """Every balanced port of every service of the own cluster."""

        def make(*given: Any) -> tuple[Frontend, ...]:
            return _frontends(pipeline, given)

        gather = pipeline.gather
        inputs = (
            (key, (service, own(world, service), world.namespace(key[0]), gather(service, imported)))
            for key, service in world.services.items()
            if service.address
        )
        return tuple(frontend for frontends in self._memo.remake(pipeline, inputs, make) for frontend in frontends)


class Offering:
    """An exporter's decisions."""

    def __init__(self) -> None:
        self._memo: _Memo[Record | None] = _Memo()

    def records(self, pipeline: Pipeline, member: Member, world: World) -> dict[Key, Record]:
        """All that this cluster shares."""
        inputs = (
            (key, (member, service, world.endpoints.get(key, ()), world.namespace(key[0])))
            for key, service in world.services.items()
        )
        made = self._memo.remake(pipeline, inputs, pipeline.select)
        return {record.key: record for record in made if record is not None}


def _frontends(pipeline: Pipeline, given: Inputs) -> tuple[Frontend, ...]:
    service, endpoints, namespace, remote = given
    near = {endpoint.address for endpoint in endpoints}
    return tuple(
        Frontend(
            namespace=service.namespace,
            name=service.name,
            address=service.address,
            port=offer.port,
            backends=(backends := pipeline.choose(service, offer)),
            hairpins=frozenset(address for address, _ in backends if address in near),
            session_seconds=service.session_seconds,
        )
        for offer in pipeline.merge(service, endpoints, namespace, remote, pipeline.here.node)
    )
