"""Frontends as nftables rules, and the transaction that leads from what is in force to them (the `compile` seam).

One chain per dialled port: it picks a backend at random per connection, or, without backends, refuses
at once (TCP reset, ICMP port unreachable) instead of timing out. NAT chains see only the first packet of a flow, so
a flow whose service became empty may end in peace. The output hook serves processes of the node itself. Sources
are kept, but for a pod that is sent to itself, whose answer would otherwise never pass the node again.

A packet must never find the table half changed, else its SYN goes out unbalanced and so does every retransmission.
Rules are swapped under a packet as one, but elements of sets are looked up in whichever generation is
current at that moment (measured on Linux 6.18: one lost connection in some hundred replaced tables). So an element
never changes its meaning, a table found at start is changed, never replaced, and a chain holds no set but its pins.

Pins are session affinity: per dialled port and backend the clients that it answered last, each for as long as
the service says (as kube-proxy's nftables mode has it). A pin goes with its backend; who has none, or is not found
in a moment of change, gets a backend at random and a new pin.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from meshproof.clusters.meshes.reference.merge import Backend, Frontend

TABLE = "reference_mesh"

Target = tuple[str, str, int]
"""(ClusterIP, tcp or udp, port)"""

SKELETON = f"""table ip {TABLE} {{
  map services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  set hairpin {{ type ipv4_addr . ipv4_addr; }}
  chain balance_forwarded {{
    type nat hook prerouting priority -100; policy accept;
  }}
  chain balance_own {{
    type nat hook output priority -100; policy accept;
  }}
  chain leave {{
    type nat hook postrouting priority 100; policy accept;
  }}
}}
"""
ENTRIES = ("balance_forwarded", "balance_own")
LOOKUP = "ip daddr . meta l4proto . th dport vmap @services"
UNKNOWN = ("?",)
"""Rules nobody has read; they differ from all rules."""
REFUSALS = {"tcp": "reject with tcp reset", "udp": "reject with icmp type port-unreachable"}


@dataclass(frozen=True, slots=True)
class Ruleset:
    """What the table of one node holds."""

    chains: Mapping[Target, tuple[str, ...]] = field(default_factory=dict)
    """The rules of each dialled port."""
    hairpins: frozenset[str] = frozenset()
    postrouting: tuple[str, ...] = ('oifname != "lo" ip saddr . ip daddr @hairpin masquerade',)
    pins: Mapping[str, int] = field(default_factory=dict)
    """Session affinity: name of a set of clients -> seconds that one stays in it."""


def compile_rules(frontends: Iterable[Frontend]) -> Ruleset:
    """The rules for these frontends."""
    chains: dict[Target, tuple[str, ...]] = {}
    hairpins: set[str] = set()
    pins: dict[str, int] = {}
    for frontend in frontends:
        at, seconds = target(frontend), frontend.session_seconds
        chains[at] = _balance(at, frontend.backends, seconds)
        hairpins |= frontend.hairpins
        if seconds:
            pins |= {_pin(at, backend, seconds): seconds for backend in frontend.backends}
    return Ruleset(chains, frozenset(hairpins), pins=pins)


def target(frontend: Frontend) -> Target:
    return frontend.address, frontend.port.protocol.lower(), frontend.port.number


@functools.lru_cache(maxsize=8192)
def _balance(at: Target, backends: tuple[Backend, ...], seconds: int) -> tuple[str, ...]:
    """Of n backends the first is taken once in n, of the others the next once in n - 1, and so on."""
    protocol = at[1]
    if not backends:
        return (f"meta l4proto {protocol} {REFUSALS[protocol]}",)

    def go(backend: Backend) -> str:
        keep = f"update @{_pin(at, backend, seconds)} {{ ip saddr }} " if seconds else ""
        return f"{keep}meta l4proto {protocol} dnat ip to {backend[0]}:{backend[1]}"

    pinned = dict.fromkeys(backends) if seconds else ()
    shares = zip(range(len(backends), 1, -1), backends, strict=False)
    return (
        *(f"ip saddr @{_pin(at, backend, seconds)} {go(backend)}" for backend in pinned),
        *(f"numgen random mod {left} 0 {go(backend)}" for left, backend in shares),
        go(backends[-1]),
    )


def _pin(at: Target, backend: Backend, seconds: int) -> str:
    """The set of clients that this backend answered; another time-out is another set."""
    return f"pin_{at[0]}_{at[1]}_{at[2]}_{backend[0]}_{backend[1]}_{seconds}"


def change(old: Ruleset | None, new: Ruleset) -> str:
    """The transaction that leads from `old`, None being no table at all, to `new`; empty when they are equal."""
    lines: list[str] = []
    if old is None:
        lines += [SKELETON, *(f"add rule ip {TABLE} {chain} {LOOKUP}" for chain in ENTRIES)]
        old = Ruleset(postrouting=())
    lines += [
        f"add set ip {TABLE} {pin} {{ type ipv4_addr; size 65535; flags dynamic,timeout; timeout {seconds}s; }}"
        for pin, seconds in new.pins.items()
        if pin not in old.pins
    ]
    for at in (changed := [at for at, rules in new.chains.items() if old.chains.get(at) != rules]):
        lines += [f"add chain ip {TABLE} {_chain(at)}", f"flush chain ip {TABLE} {_chain(at)}"]
        lines += [f"add rule ip {TABLE} {_chain(at)} {rule}" for rule in new.chains[at]]
    if old.postrouting != new.postrouting:
        lines.append(f"flush chain ip {TABLE} leave")
        lines += [f"add rule ip {TABLE} leave {rule}" for rule in new.postrouting]
    gone = sorted(old.chains.keys() - new.chains.keys())
    added = [at for at in changed if at not in old.chains]
    lines += _elements("delete", "services", [_address(at) for at in gone])
    lines += _elements("delete", "hairpin", [f"{ip} . {ip}" for ip in sorted(old.hairpins - new.hairpins)])
    lines += _elements("add", "services", [f"{_address(at)} : goto {_chain(at)}" for at in added])
    lines += _elements("add", "hairpin", [f"{ip} . {ip}" for ip in sorted(new.hairpins - old.hairpins)])
    for at in gone:
        lines += [f"flush chain ip {TABLE} {_chain(at)}", f"delete chain ip {TABLE} {_chain(at)}"]
    lines += [f"delete set ip {TABLE} {pin}" for pin in old.pins if pin not in new.pins]
    return "\n".join(lines) + "\n" if lines else ""


def found(listing: str) -> Ruleset:
    """What a table holds, as `nft list table` prints it: its ports, hairpins and pins, all rules being UNKNOWN."""
    chains: dict[Target, tuple[str, ...]] = {
        (address, protocol, int(port)): UNKNOWN
        for address, protocol, port in re.findall(r"^\tchain to_([\d.]+)_(tcp|udp)_(\d+) {", listing, re.MULTILINE)
    }
    hairpins = re.search(r"set hairpin {[^}]*elements = {([^}]*)}", listing)
    pairs = re.findall(r"([\d.]+) \. \1\b", hairpins[1]) if hairpins else []
    pins = re.findall(r"^\tset (pin_\S+_(\d+)) {", listing, re.MULTILINE)
    return Ruleset(chains, frozenset(pairs), UNKNOWN, {name: int(seconds) for name, seconds in pins})


def _elements(verb: str, name: str, elements: list[str]) -> list[str]:
    return [f"{verb} element ip {TABLE} {name} {{ {', '.join(elements)} }}"] if elements else []


def _address(at: Target) -> str:
    return f"{at[0]} . {at[1]} . {at[2]}"


def _chain(at: Target) -> str:
    return f"to_{at[0]}_{at[1]}_{at[2]}"
