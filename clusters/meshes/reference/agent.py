"""The agent: one process per node that keeps the node's rules what the mesh says they should be.

Each change is one nftables transaction, computed from everything known and written as the
difference to what is in force. What happens when something is missing:

- A peer is away: what it last said stays, also across the agent's own restart, unless a cache TTL is set and over.
- The own API server is away: the same; at start, a predecessor's table is left alone until it answers.
- A table is found but the memory of some peer is lost: it is left alone until that peer has synced or
  10 s have passed (upstream's clustermesh-sync-timeout, there one minute); then that peer's backends go.
- A transaction is refused: the old rules stay in force, the status says so, and the table is read and
  changed at the next event or after a back-off of at most 1 s.

    python -m meshproof.clusters.meshes.reference.agent CONFIG.json     (shape: SPEC, 'Agents' entry points')
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence, Set
from pathlib import Path

from meshproof.clusters.meshes.reference.balance import Balance
from meshproof.clusters.meshes.reference.conntrack import Allowed, forget, udp_only
from meshproof.clusters.meshes.reference.defects.live import Toggle
from meshproof.clusters.meshes.reference.link import Exporter, Links
from meshproof.clusters.meshes.reference.memory import Memory
from meshproof.clusters.meshes.reference.merge import Backend, Frontend
from meshproof.clusters.meshes.reference.nftables import Nftables
from meshproof.clusters.meshes.reference.pipeline import Pipeline, Site
from meshproof.clusters.meshes.reference.records import Member
from meshproof.clusters.meshes.reference.ruleset import TABLE, Ruleset, Target, change, found, target
from meshproof.clusters.meshes.reference.settings import Settings
from meshproof.clusters.meshes.reference.start import begin, peers_of
from meshproof.clusters.meshes.reference.status import Reporter
from meshproof.clusters.meshes.reference.watching import SECONDS_WITHOUT_VISIT_MAX, Doorbell, Outlook
from meshproof.clusters.rest import Api

SECONDS_TO_SYNC_MAX = 10.0
SECONDS_TO_RETRY = (0.1, 1.0)
ICMP_RATEMASK = Path("/proc/sys/net/ipv4/icmp_ratemask")
ICMP_UNREACHABLE = 3

log = logging.getLogger(__name__)


class Kernel:
    """The rules in force in this network namespace."""

    def __init__(self, nft: Nftables) -> None:
        self._nft = nft
        self._ruleset: Ruleset | None = None
        self._sure = False
        self._changed: set[Target] = set()
        """Ports whose rules have changed and whose flows were not seen to yet."""
        self.adopted = nft.has_table(TABLE)
        """Whether a predecessor's table was found; it works on until the first `apply`."""

    def apply(
        self, frontends: Sequence[Frontend], ruleset: Ruleset, forgotten: Callable[[Allowed], Allowed] = udp_only
    ) -> bool:
        """Put `ruleset` in force in one transaction; whether anything changed. Raises NftablesError or OSError."""
        if not self._sure:
            self._ruleset = found(self._nft.table(TABLE)) if self._nft.has_table(TABLE) else None
        before = self._ruleset.chains if self._ruleset else {}
        commands = change(self._ruleset, ruleset)
        # Whatever goes wrong below, what is in force is then not known for sure: next time look.
        self._sure = False
        if commands:
            self._nft.run(commands)
            chains = ruleset.chains
            self._changed |= {at for at in before.keys() | chains.keys() if before.get(at) != chains.get(at)}
        if self._changed:
            self._forget(self._changed, frontends, forgotten)
            self._changed = set()
        self._ruleset, self._sure = ruleset, True
        return bool(commands)

    def _forget(
        self, changed: Set[Target], frontends: Sequence[Frontend], forgotten: Callable[[Allowed], Allowed]
    ) -> None:
        answering = {at: frozenset(f.backends) for f in frontends if (at := target(f)) in changed}
        nobody = frozenset[Backend]()
        allowed = forgotten({at: answering.get(at, nobody) for at in changed})
        if allowed and (gone := forget(allowed)):
            log.info("%d flows forgotten", gone)


class Agent:
    """One node's worker; `run` is the only thread that touches the kernel."""

    def __init__(
        self, here: Site, outlook: Outlook, bell: Doorbell, memory: Memory, reporter: Reporter, kernel: Kernel
    ) -> None:
        self.here = here
        self._outlook = outlook
        self._bell = bell
        self._memory = memory
        self._reporter = reporter
        self._kernel = kernel
        self._links = Links()
        self._balance = Balance()
        self._remembered: frozenset[str] = frozenset()
        self._pipeline = Pipeline(here)
        self._used = threading.Condition()
        self._in_force: Pipeline | None = None
        self._applied = 0
        self._settings = Settings(said={})

    def join(self, peers: dict[Member, Exporter]) -> None:
        """Link to `peers`, starting from what is remembered of them."""
        remembered = self._memory.recall(peers)
        self._remembered = frozenset(remembered)
        self._links.join(peers, remembered, lambda: self._pipeline.feed, self._bell.ring)

    def use(self, pipeline: Pipeline, seconds: float) -> bool:
        """Decide by `pipeline` from now on; whether everything was evaluated anew within `seconds`.

        Where the feed changed, every peer is asked to tell all it has again; a peer that is away
        is not waited for.
        """
        until = time.monotonic() + seconds
        resync = pipeline.feed is not self._pipeline.feed
        self._pipeline = pipeline
        told = self._links.resync() if resync else lambda: True
        self._bell.ring()
        with self._used:
            return self._used.wait_for(lambda: self._in_force is pipeline and told(), until - time.monotonic())

    def run(self) -> None:
        """Apply for ever."""
        shortest, longest = SECONDS_TO_RETRY
        patience = time.monotonic() + SECONDS_TO_SYNC_MAX
        retry, wait = shortest, SECONDS_WITHOUT_VISIT_MAX
        while not self._may_start(patience):
            self._bell.wait(shortest)
        while True:
            try:
                self._evaluate()
                retry, wait, error = shortest, SECONDS_WITHOUT_VISIT_MAX, self._outlook.complaint()
            except Exception as problem:  # whatever it was, the rules in force stay; see the module's docstring
                log.exception("not applied")
                retry = wait = min(longest, retry * 2)
                error = f"not applied: {problem!r}"
            peers = self._pipeline.status(self._links.status())
            self._reporter.report(peers, self._applied, error, self._settings.said)
            self._bell.wait(wait)

    def _may_start(self, patience: float) -> bool:
        if not self._outlook.synced():
            return False
        known = self._links.synced(self._remembered)
        return known or not self._kernel.adopted or time.monotonic() > patience

    def _evaluate(self) -> None:
        pipeline, world = self._pipeline, self._outlook.read()
        if world is None:
            raise RuntimeError("the mirrors are not synced")
        ttl = world.settings.cache_ttl_seconds
        imported = self._links.imported(lambda away: pipeline.revoke(away, ttl))
        self._memory.keep(imported)
        frontends = self._balance.frontends(pipeline, world, imported)
        if self._kernel.apply(frontends, pipeline.compile(frontends), pipeline.forget):
            self._applied += 1
        self._settings = world.settings
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
    api, bell = Api(**config["api"]), Doorbell()
    # A predecessor's memory lies beside the configuration, which is per node.
    memory = Memory(Path(config.get("memory", f"{arguments[0]}.known")))
    reporter, outlook = Reporter(api, f"agent-{config['node']}"), Outlook(api, bell)
    refuse_without_limit()
    with Nftables() as nft:
        agent = Agent(Site(config["cluster"], config["node"]), outlook, bell, memory, reporter, Kernel(nft))
        agent.join(peers_of(config))
        Toggle(outlook, agent, reporter)
        agent.run()


if __name__ == "__main__":
    main(sys.argv[1:])
