"""The reference mesh: a small, readable implementation of the promises this suite tests.

One exporter per cluster publishes that cluster's shared services; one agent per node reads its
own API server and every peer's exporter and programs nftables in its node's network namespace.
It is independent of Cilium and AKS, and a verdict about it says nothing about them. Read in this
order: `records`, `settings`, `world`, `selection`, `feed`, `merge`, `naming`, `ruleset`; those are pure, `naming`'s
thread apart. `pipeline` names them as seams, `balance` runs them; `defects/` holds wrappers around the
seams, each one a real bug.

What it leaves out: headless services and endpoint slice synchronisation, NodePort, topology, IPv6, policy, identities.
"""
