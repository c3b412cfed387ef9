"""The agent: one process per node that keeps the node's rules what the mesh says they should be.

Each change is one nftables transaction, computed from everything known and written as the
difference to what is in force. What happens when something is missing:

- A peer is away: what it last said stays (upstream's cacheTTL 0), also across the agent's own restart.
- The own API server is away: the same; at start, a predecessor's table is left alone until it answers.
- A table is found but the memory of some peer is lost: it is left alone until that peer has synced or
  10 s have passed (upstream's clustermesh-sync-timeout, there one minute); then that peer's backends go.
- A transaction is refused: the old rules stay in force, the status says so, and the table is read and
  changed at the next event or after a back-off of at most 5 s.

    python -m meshproof.clusters.meshes.reference.agent CONFIG.json     (shape: SPEC, 'Agents' entry points')
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from meshproof.clusters.meshes.reference.conntrack import forget
from meshproof.clusters.meshes.reference.defects.live import Toggle
from meshproof.clusters.meshes.reference.feed import Feed, PeerState
from meshproof.clusters.meshes.reference.link import Exporter, Link
from meshproof.clusters.meshes.reference.memory import Memory
from meshproof.clusters.meshes.reference.merge import Backend, Frontend
from meshproof.clusters.meshes.reference.nftables import Nftables
from meshproof.clusters.meshes.reference.pipeline import Pipeline
from meshproof.clusters.meshes.reference.records import Member
from meshproof.clusters.meshes.reference.ruleset import TABLE, Ruleset, change, found, target
from meshproof.clusters.meshes.reference.serving import Tls
from meshproof.clusters.meshes.reference.start import begin
from meshproof.clusters.meshes.reference.status import Reporter
from meshproof.clusters.meshes.reference.watching import Doorbell, Outlook
from meshproof.clusters.rest import Api

SECONDS_TO_SYNC_MAX = 10.0
SECONDS_TO_RETRY = (0.1, 5.0)
ICMP_RATEMASK = Path("/proc/sys/net/ipv4/icmp_ratemask")
ICMP_UNREACHABLE = 3

log = logging.getLogger(__name__)


class Kernel:
    """The rules in force in this network namespace."""

    def __init__(self, nft: Nftables) -> None:
        self._nft = nft
        self._ruleset: Ruleset | None = None
        self._sure = False
        self._frontends: dict[tuple[str, str, int], Frontend] = {}
        self.adopted = nft.has_table(TABLE)
        """Whether a predecessor's table was found; it works on until the first `apply`."""

    def apply(self, frontends: Sequence[Frontend], ruleset: Ruleset) -> bool:
        """Put `ruleset` in force in one transaction; whether anything changed. Raises NftablesError or OSError."""
        if not self._sure:
            self._ruleset = found(self._nft.table(TABLE)) if self._nft.has_table(TABLE) else None
        commands = change(self._ruleset, ruleset)
        # Whatever goes wrong below, what is in force is then not known for sure: next time look.
        self._sure = False
        if commands:
            self._nft.run(commands)
            fresh = {target(frontend): frontend for frontend in frontends if frontend.port.protocol == "UDP"}
            self._forget_udp(fresh)
            self._frontends = fresh
        self._ruleset, self._sure = ruleset, True
        return bool(commands)

    def _forget_udp(self, fresh: dict[tuple[str, str, int], Frontend]) -> None:
        old = self._frontends
        changed = {at for at in old.keys() | fresh.keys() if at not in old or old[at] != fresh.get(at)}
        allowed: dict[Backend, frozenset[Backend]] = {
            (address, port): frozenset(fresh[address, protocol, port].backends)
            if (address, protocol, port) in fresh
            else frozenset()
            for address, protocol, port in changed
        }
        if allowed and (gone := forget(allowed)):
            log.info("%d UDP flows forgotten", gone)


class Agent:
    """One node's worker; `run` is the only thread that touches the kernel."""

    def __init__(self, outlook: Outlook, bell: Doorbell, memory: Memory, reporter: Reporter, kernel: Kernel) -> None:
        self._outlook = outlook
        self._bell = bell
        self._memory = memory
        self._reporter = reporter
        self._kernel = kernel
        self._links: tuple[Link, ...] = ()
        self._remembered: set[str] = set()
        self._pipeline = Pipeline()
        self._used = threading.Condition()
        self._in_force: Pipeline | None = None
        self._applied = 0

    def join(self, peers: dict[Member, Exporter]) -> None:
        """Link to `peers`, starting from what is remembered of them."""
        remembered = self._memory.recall(peers)
        self._remembered = set(remembered)
        self._links = tuple(
            Link(PeerState(member, remembered.get(member.cluster, {})), exporter.dial, self._feed, self._bell.ring)
            for member, exporter in peers.items()
        )

    def use(self, pipeline: Pipeline, seconds: float) -> bool:
        """Decide by `pipeline` from now on; whether everything was evaluated anew within `seconds`.

        Where the feed changed, every peer is asked to tell all it has again; a peer that is away
        is not waited for.
        """
        until = time.monotonic() + seconds
        resync = pipeline.feed is not self._pipeline.feed
        self._pipeline = pipeline
        asked = {link: link.resync() for link in self._links} if resync else {}
        self._bell.ring()
        with self._used:
            return self._used.wait_for(
                lambda: (
                    self._in_force is pipeline
                    and all(link.done >= wanted or not link.connected() for link, wanted in asked.items())
                ),
                until - time.monotonic(),
            )

    def run(self) -> None:
        """Apply for ever."""
        shortest, longest = SECONDS_TO_RETRY
        patience = time.monotonic() + SECONDS_TO_SYNC_MAX
        retry: float | None = None
        while not self._may_start(patience):
            self._bell.wait(shortest)
        while True:
            try:
                self._evaluate()
                retry, error = None, ""
            except Exception as problem:  # whatever it was, the rules in force stay; see the module's docstring
                log.exception("not applied")
                retry, error = min(longest, (retry or shortest) * 2), f"not applied: {problem!r}"
            peers = {link.state.member.cluster: link.status() for link in self._links}
            self._reporter.report(self._pipeline.status(peers), self._applied, error)
            self._bell.wait(retry)

    def _feed(self) -> Feed:
        return self._pipeline.feed

    def _may_start(self, patience: float) -> bool:
        if not self._outlook.synced():
            return False
        known = all(link.state.synced or link.state.member.cluster in self._remembered for link in self._links)
        return known or not self._kernel.adopted or time.monotonic() > patience

    def _evaluate(self) -> None:
        pipeline, world = self._pipeline, self._outlook.read()
        if world is None:
            raise RuntimeError("the mirrors are not synced")
        imported = {link.state.member.cluster: link.state.records for link in self._links}
        self._memory.keep(imported)
        frontends = pipeline.merge(world, imported)
        if self._kernel.apply(frontends, pipeline.compile(frontends)):
            self._applied += 1
        with self._used:
            self._in_force = pipeline
            self._used.notify_all()


def refuse_without_limit() -> None:
    """Let this namespace send every "unreachable": the kernel's limit swallows the first one to each client.

    Measured on Linux 6.18: with it a UDP client of an empty service waits in vain; TCP resets have no limit.
    """
    try:
        kinds = int(ICMP_RATEMASK.read_text())
        ICMP_RATEMASK.write_text(str(kinds & ~(1 << ICMP_UNREACHABLE)))
    except OSError as error:
        log.warning("refusals of UDP stay limited: %s", error)


def main(arguments: list[str]) -> None:
    config = begin(arguments)
    api, tls, bell = Api(**config["api"]), Tls(**config["tls"]), Doorbell()
    # A predecessor's memory lies beside the configuration, which is per node.
    memory = Memory(Path(config.get("memory", f"{arguments[0]}.known")))
    reporter = Reporter(api, f"agent-{config['node']}")
    refuse_without_limit()
    with Nftables() as nft:
        agent = Agent(Outlook(api, bell), bell, memory, reporter, Kernel(nft))
        agent.join(
            {
                Member(peer["cluster"], peer["id"]): Exporter(peer["cluster"], peer["address"], peer["port"], tls)
                for peer in config["peers"]
            }
        )
        Toggle(api, agent, reporter)
        agent.run()


if __name__ == "__main__":
    main(sys.argv[1:])
