"""Frontends as nftables rules, and the transaction that leads from what is in force to them (the `compile` seam).

One chain per dialled port: it picks a backend at random per connection, or, without backends, refuses
at once (TCP reset, ICMP port unreachable) instead of timing out. NAT chains see only the first packet of a flow, so
a flow whose service became empty may end in peace. The output hook serves processes of the node itself. Sources
are kept, but for a pod that is sent to itself, whose answer would otherwise never pass the node again.

A packet must never find the table half changed, else its SYN goes out unbalanced and so does every retransmission.
Rules are swapped under a packet as one, but elements of sets are looked up in whichever generation is
current at that moment (measured on Linux 6.18: one lost connection in some hundred replaced tables). So a chain
holds no set, not even an anonymous one, an element never changes its meaning, and a table found at start is
changed, never replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from meshproof.clusters.meshes.reference.merge import Frontend

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


def compile_rules(frontends: Iterable[Frontend]) -> Ruleset:
    """The rules for these frontends."""
    chains: dict[Target, tuple[str, ...]] = {}
    hairpins: set[str] = set()
    for frontend in frontends:
        chains[target(frontend)] = _balance(frontend)
        hairpins |= frontend.hairpins
    return Ruleset(chains, frozenset(hairpins))


def target(frontend: Frontend) -> Target:
    return frontend.address, frontend.port.protocol.lower(), frontend.port.number


def _balance(frontend: Frontend) -> tuple[str, ...]:
    """Of n backends the first is taken once in n, of the others the next once in n - 1, and so on."""
    protocol = frontend.port.protocol.lower()
    if not frontend.backends:
        return (f"meta l4proto {protocol} {REFUSALS[protocol]}",)
    last = len(frontend.backends) - 1
    return tuple(
        (f"numgen random mod {last - n + 1} 0 " if n < last else "")
        + f"meta l4proto {protocol} dnat ip to {address}:{port}"
        for n, (address, port) in enumerate(frontend.backends)
    )


def change(old: Ruleset | None, new: Ruleset) -> str:
    """The transaction that leads from `old`, None being no table at all, to `new`; empty when they are equal."""
    lines: list[str] = []
    if old is None:
        lines += [SKELETON, *(f"add rule ip {TABLE} {chain} {LOOKUP}" for chain in ENTRIES)]
        old = Ruleset(postrouting=())
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
    return "\n".join(lines) + "\n" if lines else ""


def found(listing: str) -> Ruleset:
    """What a table holds, as `nft list table` prints it: its ports and hairpins, all rules being UNKNOWN."""
    chains: dict[Target, tuple[str, ...]] = {
        (address, protocol, int(port)): UNKNOWN
        for address, protocol, port in re.findall(r"^\tchain to_([\d.]+)_(tcp|udp)_(\d+) {", listing, re.MULTILINE)
    }
    hairpins = re.search(r"set hairpin {[^}]*elements = {([^}]*)}", listing)
    pairs = re.findall(r"([\d.]+) \. \1\b", hairpins[1]) if hairpins else []
    return Ruleset(chains, frozenset(pairs), UNKNOWN)


def _elements(verb: str, name: str, elements: list[str]) -> list[str]:
    return [f"{verb} element ip {TABLE} {name} {{ {', '.join(elements)} }}"] if elements else []


def _address(at: Target) -> str:
    return f"{at[0]} . {at[1]} . {at[2]}"


def _chain(at: Target) -> str:
    return f"to_{at[0]}_{at[1]}_{at[2]}"
