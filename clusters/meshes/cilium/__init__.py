"""Cilium Cluster Mesh, installed one declarative way: helm values for each cluster, and nothing else done to it.

`lock` says which releases, charts and images; `values` makes each cluster's values; `helm` renders or installs them;
`agreement` and `trust` say whether what was rendered for different clusters fits together. Limits: IPv4, native
routing, one certificate authority for all members; not yet run against live Cilium by us.
"""
