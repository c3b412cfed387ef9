"""The exporter: one process per cluster that publishes what the cluster shares.

It watches its own API server and serves the records at an address of its own. While its API server
is away it keeps serving the last it knew; when it starts, it says hello and nothing else until it
has seen its whole cluster, so that a restart never withdraws anything. It hears its peers too, and keeps the
names of all that anybody exports under svc.fleet (`naming`).

    python -m meshproof.clusters.meshes.reference.exporter CONFIG.json     (shape: SPEC, 'Agents' entry points')
"""

from __future__ import annotations

import logging
import sys
import threading
import time

from meshproof.clusters.meshes.reference.balance import Offering
from meshproof.clusters.meshes.reference.defects.live import Toggle
from meshproof.clusters.meshes.reference.link import Exporter as PeerExporter
from meshproof.clusters.meshes.reference.link import Links
from meshproof.clusters.meshes.reference.naming import Zone
from meshproof.clusters.meshes.reference.pipeline import Pipeline, Site
from meshproof.clusters.meshes.reference.records import Key, Member, Record
from meshproof.clusters.meshes.reference.serving import Board, Server, Tls
from meshproof.clusters.meshes.reference.start import begin, peers_of
from meshproof.clusters.meshes.reference.status import Reporter
from meshproof.clusters.meshes.reference.watching import Doorbell, Outlook
from meshproof.clusters.meshes.reference.world import World
from meshproof.clusters.rest import Api

log = logging.getLogger(__name__)


class Exporter:
    """Turns the own cluster's world into the board that the server shows."""

    def __init__(
        self, member: Member, outlook: Outlook, bell: Doorbell, board: Board, reporter: Reporter, zone: Zone
    ) -> None:
        self.here = Site(member.cluster)
        self._member = member
        self._outlook = outlook
        self._bell = bell
        self._board = board
        self._reporter = reporter
        self._zone = zone
        self._links = Links()
        self._offering = Offering()
        self._pipeline = Pipeline(self.here)
        self._used = threading.Condition()
        self._in_force: Pipeline | None = None

    def join(self, peers: dict[Member, PeerExporter]) -> None:
        """Hear what these peers share."""
        self._links.join(peers, {}, lambda: self._pipeline.feed, self._bell.ring)

    def use(self, pipeline: Pipeline, seconds: float) -> bool:
        """Decide by `pipeline` from now on; whether it was in force, everything evaluated anew, within `seconds`."""
        until = time.monotonic() + seconds
        resync = pipeline.feed is not self._pipeline.feed
        self._pipeline = pipeline
        told = self._links.resync() if resync else lambda: True
        self._bell.ring()
        with self._used:
            return self._used.wait_for(lambda: self._in_force is pipeline and told(), until - time.monotonic())

    def run(self) -> None:
        """Publish for ever."""
        while True:
            self._bell.wait()
            pipeline, world = self._pipeline, self._outlook.read()
            if world is None:
                continue
            error = self._outlook.complaint()
            try:
                self._evaluate(pipeline, world)
            except Exception as problem:  # one odd object must not end the exporter: the last records stay
                log.exception("not published")
                error = f"not published: {problem!r}"
            else:
                with self._used:
                    self._in_force = pipeline
                    self._used.notify_all()
            peers = pipeline.status(self._links.status())
            self._reporter.report(peers, self._board.version, error, world.settings.said)

    def _evaluate(self, pipeline: Pipeline, world: World) -> None:
        ttl = world.settings.cache_ttl_seconds
        shared: dict[Key, Record] = self._offering.records(pipeline, self._member, world)
        self._board.publish(shared)
        complete = self._links.certain()  # before what they say is read, or what comes between would be too many
        imported = self._links.imported(lambda away: pipeline.revoke(away, ttl))
        self._zone.want(pipeline.resolve({**imported, self.here.cluster: shared}), world.services, complete=complete)


def main(arguments: list[str]) -> None:
    config = begin(arguments)
    api = Api(**config["api"])
    member, board, bell = Member(config["cluster"], config["id"]), Board(), Doorbell()
    server = Server(member, board, Tls(**config["tls"]), config["listen"]["address"], config["listen"]["port"])
    log.info("exporter of %s listens on port %d", member.cluster, server.port)
    reporter = Reporter(api, "exporter")
    outlook = Outlook(api, bell)
    exporter = Exporter(member, outlook, bell, board, reporter, Zone(api))
    exporter.join(peers_of(config))
    Toggle(outlook, exporter, reporter)
    exporter.run()


if __name__ == "__main__":
    main(sys.argv[1:])
