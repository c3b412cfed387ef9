"""The reference mesh: a small, readable implementation of the promises this suite tests.

One exporter per cluster publishes that cluster's shared services; one agent per node reads its
own API server and every peer's exporter and programs nftables in its node's network namespace.
It is independent of Cilium and AKS, and a verdict about it says nothing about them. Read in this
order: `records`, `world`, `selection`, `feed`, `merge`, `ruleset`; those are pure. `pipeline`
names them as seams; `defects/` holds wrappers around the seams, each one a real bug.

What it leaves out: headless services, affinity, NodePort, IPv6, policy, identities.
"""
