"""Frontends as nftables rules, and two ways to write them as one transaction (the `compile` seam).

One chain per dialled port picks a backend at random per connection; a port without backends is refused
at once (TCP reset, ICMP port unreachable) instead of timing out. The output hook serves processes of the node
itself. Sources are kept, but for a pod that is sent to itself, whose answer would otherwise never
pass the node again. Only new connections are refused: a flow whose service became empty may end in peace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from meshproof.clusters.meshes.reference.merge import Frontend

TABLE = "reference_mesh"

Target = tuple[str, str, int]
"""(ClusterIP, tcp or udp, port)"""

SKELETON = """
  map services { type ipv4_addr . inet_proto . inet_service : verdict; }
  set empty { type ipv4_addr . inet_proto . inet_service; }
  set hairpin { type ipv4_addr . ipv4_addr; }
  chain refuse {
    meta l4proto tcp reject with tcp reset
    meta l4proto udp reject with icmp type port-unreachable
  }
  chain refuse_forwarded {
    type filter hook prerouting priority -110; policy accept;
    ct state new ip daddr . meta l4proto . th dport @empty goto refuse
  }
  chain refuse_own {
    type filter hook output priority -110; policy accept;
    ct state new ip daddr . meta l4proto . th dport @empty goto refuse
  }
  chain balance_forwarded {
    type nat hook prerouting priority -100; policy accept;
    ip daddr . meta l4proto . th dport vmap @services
  }
  chain balance_own {
    type nat hook output priority -100; policy accept;
    ip daddr . meta l4proto . th dport vmap @services
  }
"""


@dataclass(frozen=True, slots=True)
class Ruleset:
    """What the table of one node holds."""

    chains: Mapping[Target, tuple[str, ...]] = field(default_factory=dict)
    """The rules of each dialled port that has backends."""
    empty: frozenset[Target] = frozenset()
    hairpins: frozenset[str] = frozenset()
    postrouting: tuple[str, ...] = ('oifname != "lo" ip saddr . ip daddr @hairpin masquerade',)


def compile_rules(frontends: Iterable[Frontend]) -> Ruleset:
    """The rules for these frontends."""
    chains: dict[Target, tuple[str, ...]] = {}
    empty: set[Target] = set()
    hairpins: set[str] = set()
    for frontend in frontends:
        if frontend.backends:
            chains[target(frontend)] = (_balance(frontend),)
        else:
            empty.add(target(frontend))
        hairpins |= frontend.hairpins
    return Ruleset(chains, frozenset(empty), frozenset(hairpins))


def target(frontend: Frontend) -> Target:
    return frontend.address, frontend.port.protocol.lower(), frontend.port.number


def _balance(frontend: Frontend) -> str:
    choices = ", ".join(f"{n} : {address} . {port}" for n, (address, port) in enumerate(frontend.backends))
    return (
        f"meta l4proto {frontend.port.protocol.lower()} "
        f"dnat ip to numgen random mod {len(frontend.backends)} map {{ {choices} }} "
        f'comment "{f"{frontend.namespace}/{frontend.name}"[:120]}"'
    )


def whole(ruleset: Ruleset) -> str:
    """The transaction that replaces whatever the table held by `ruleset`."""
    lines = [f"add table ip {TABLE}", f"delete table ip {TABLE}", f"table ip {TABLE} {{{SKELETON}"]
    lines.append("  chain leave { type nat hook postrouting priority 100; policy accept; }")
    lines += [f"  chain {_chain(at)} {{ }}" for at in ruleset.chains]
    lines.append("}")
    return "\n".join(lines) + "\n" + change(Ruleset(postrouting=()), ruleset, fresh=True)


def change(old: Ruleset, new: Ruleset, fresh: bool = False) -> str:
    """The transaction that leads from `old` to `new`; empty when they are equal.

    `fresh` says that the chains of `new` are there already, empty.
    """
    lines: list[str] = []
    changed = [at for at, rules in new.chains.items() if old.chains.get(at) != rules]
    for at in changed:
        chain = _chain(at)
        if not fresh:
            lines += [f"add chain ip {TABLE} {chain}", f"flush chain ip {TABLE} {chain}"]
        lines += [f"add rule ip {TABLE} {chain} {rule}" for rule in new.chains[at]]
    if old.postrouting != new.postrouting:
        lines.append(f"flush chain ip {TABLE} leave")
        lines += [f"add rule ip {TABLE} leave {rule}" for rule in new.postrouting]
    gone = sorted(old.chains.keys() - new.chains.keys())
    lines += _elements("delete", "services", [_address(at) for at in gone])
    lines += _elements("delete", "empty", [_address(at) for at in sorted(old.empty - new.empty)])
    lines += _elements("delete", "hairpin", [f"{ip} . {ip}" for ip in sorted(old.hairpins - new.hairpins)])
    added = [at for at in changed if at not in old.chains]
    lines += _elements("add", "services", [f"{_address(at)} : goto {_chain(at)}" for at in added])
    lines += _elements("add", "empty", [_address(at) for at in sorted(new.empty - old.empty)])
    lines += _elements("add", "hairpin", [f"{ip} . {ip}" for ip in sorted(new.hairpins - old.hairpins)])
    for at in gone:
        lines += [f"flush chain ip {TABLE} {_chain(at)}", f"delete chain ip {TABLE} {_chain(at)}"]
    return "\n".join(lines) + "\n" if lines else ""


def _elements(verb: str, name: str, elements: list[str]) -> list[str]:
    return [f"{verb} element ip {TABLE} {name} {{ {', '.join(elements)} }}"] if elements else []


def _address(at: Target) -> str:
    return f"{at[0]} . {at[1]} . {at[2]}"


def _chain(at: Target) -> str:
    return f"to_{at[0]}_{at[1]}_{at[2]}"
