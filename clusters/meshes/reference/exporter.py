"""The exporter: one process per cluster that publishes what the cluster shares.

It watches its own API server and serves the records at an address of its own. While its API server
is away it keeps serving the last it knew; when it starts, it says hello and nothing else until it
has seen its whole cluster, so that a restart never withdraws anything.

    python -m meshproof.clusters.meshes.reference.exporter CONFIG.json     (shape: SPEC, 'Agents' entry points')
"""

from __future__ import annotations

import logging
import sys
import threading

from meshproof.clusters.meshes.reference.defects.live import Toggle
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Key, Member, Record
from meshproof.clusters.meshes.reference.serving import Board, Server, Tls
from meshproof.clusters.meshes.reference.start import begin
from meshproof.clusters.meshes.reference.status import Reporter
from meshproof.clusters.meshes.reference.watching import Doorbell, Outlook
from meshproof.clusters.meshes.reference.world import World
from meshproof.clusters.rest import Api

log = logging.getLogger(__name__)


class Exporter:
    """Turns the own cluster's world into the board that the server shows."""

    def __init__(self, member: Member, outlook: Outlook, bell: Doorbell, board: Board, reporter: Reporter) -> None:
        self._member = member
        self._outlook = outlook
        self._bell = bell
        self._board = board
        self._reporter = reporter
        self._pipeline = Pipeline()
        self._used = threading.Condition()
        self._in_force: Pipeline | None = None

    def use(self, pipeline: Pipeline, seconds: float) -> bool:
        """Decide by `pipeline` from now on; whether it was in force, everything evaluated anew, within `seconds`."""
        self._pipeline = pipeline
        self._bell.ring()
        with self._used:
            return self._used.wait_for(lambda: self._in_force is pipeline, seconds)

    def run(self) -> None:
        """Publish for ever."""
        while True:
            self._bell.wait(None)
            pipeline, world = self._pipeline, self._outlook.read()
            if world is None:
                continue
            try:
                self._board.publish(records(pipeline, self._member, world))
            except Exception as error:  # one odd object must not end the exporter: the last records stay
                log.exception("not published")
                self._reporter.report({}, self._board.version, f"not published: {error!r}")
                continue
            self._reporter.report({}, self._board.version, "")
            with self._used:
                self._in_force = pipeline
                self._used.notify_all()


def records(pipeline: Pipeline, member: Member, world: World) -> dict[Key, Record]:
    """All that this cluster shares."""
    chosen = (
        pipeline.select(member, service, world.endpoints.get(key, ()), world.namespaces.get(service.namespace, {}))
        for key, service in world.services.items()
    )
    return {record.key: record for record in chosen if record is not None}


def main(arguments: list[str]) -> None:
    config = begin(arguments)
    api = Api(**config["api"])
    member, board, bell = Member(config["cluster"], config["id"]), Board(), Doorbell()
    server = Server(member, board, Tls(**config["tls"]), config["listen"]["address"], config["listen"]["port"])
    log.info("exporter of %s listens on port %d", member.cluster, server.port)
    reporter = Reporter(api, "exporter")
    exporter = Exporter(member, Outlook(api, bell), bell, board, reporter)
    Toggle(api, exporter, reporter)
    exporter.run()


if __name__ == "__main__":
    main(sys.argv[1:])
