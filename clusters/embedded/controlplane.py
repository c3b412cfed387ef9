"""The command lines of one cluster's real control plane.

Every cluster uses the same default ports, because each control plane has a network namespace of
its own; etcd listens on that namespace's loopback only, so nobody else can see it.
The flags and their reasons were measured on a trial of exactly this design.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshproof.clusters.embedded import addresses, pki
from meshproof.clusters.embedded.binaries import Binaries
from meshproof.clusters.fleet import ClusterSpec

CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "endpointslice-controller",
    "endpointslice-mirroring-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "node-ipam-controller",
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "statefulset-controller",
    "taint-eviction-controller",
)
# Admission that serves features no suite uses; each costs a watch and start-up time.
UNUSED_ADMISSION = (
    "StorageObjectInUseProtection",
    "PersistentVolumeClaimResize",
    "RuntimeClass",
    "CertificateApproval",
    "CertificateSigning",
    "CertificateSubjectRestriction",
    "DefaultIngressClass",
    "DefaultStorageClass",
    "ClusterTrustBundleAttest",
    "PodTopologyLabels",
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The files one cluster's processes prove themselves with."""

    authority: pki.Authority
    server: pki.Pair
    kubelet_client: pki.Pair
    kubelet_server: pki.Pair
    service_account_public: Path
    service_account_private: Path
    admin: pki.Pair
    controller_manager: pki.Pair
    scheduler: pki.Pair
    node_agent: pki.Pair
    mesh: pki.Pair


def issue(cluster: ClusterSpec, directory: Path) -> Credentials:
    """All keys and certificates of one cluster, in `directory`."""
    authority = pki.new_authority(directory, f"meshproof {cluster.name}")
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    own = [addresses.control_plane_address(cluster), addresses.kubernetes_service_address(cluster), "127.0.0.1"]
    nodes = addresses.node_names(cluster)
    public, private = pki.new_signing_key(directory, "service-account")
    return Credentials(
        authority=authority,
        server=authority.server("kube-apiserver", names, own),
        kubelet_client=authority.client("kubelet-client", "meshproof:kubelet-client"),
        kubelet_server=authority.server("kubelet", nodes, [addresses.node_address(cluster, node) for node in nodes]),
        service_account_public=public,
        service_account_private=private,
        admin=authority.client("admin", "admin", "system:masters"),
        controller_manager=authority.client("kube-controller-manager", "system:kube-controller-manager"),
        scheduler=authority.client("kube-scheduler", "system:kube-scheduler"),
        node_agent=authority.client("node-agent", "meshproof:node-agent"),
        mesh=authority.client("reference-mesh", "meshproof:reference-mesh"),
    )


def kubeconfig(cluster: ClusterSpec, authority: pki.Authority, user: pki.Pair) -> dict[str, Any]:
    """A kubeconfig whose one context is named after the cluster.

    It names the fleet's key files instead of embedding them: Python clients write embedded keys to temporary
    files, which a killed run leaves behind.
    """
    server = {"server": addresses.api_server(cluster), "certificate-authority": str(authority.ca)}
    person = {"client-certificate": str(user.cert), "client-key": str(user.key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster.name, "cluster": server}],
        "users": [{"name": cluster.name, "user": person}],
        "contexts": [{"name": cluster.name, "context": {"cluster": cluster.name, "user": cluster.name}}],
        "current-context": cluster.name,
    }


def write_kubeconfig(path: Path, content: dict[str, Any]) -> None:
    """JSON is YAML; written 0600 because it holds a key."""
    pki.write_secret(path, json.dumps(content, indent=1).encode())


def write_merged_kubeconfig(directory: Path, names: list[str]) -> None:
    """`all`, beside one file per cluster: every cluster's context, the first one current."""
    parts = [json.loads((directory / name).read_text()) for name in names]
    lists = {key: [part[key][0] for part in parts] for key in ("clusters", "users", "contexts")}
    write_kubeconfig(directory / "all", {**parts[0], **lists})


def etcd(binaries: Binaries, data: Path) -> list[str]:
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    return [
        str(binaries.etcd),
        f"--data-dir={data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
        "--snapshot-count=5000",
    ]


def kube_apiserver(binaries: Binaries, cluster: ClusterSpec, credentials: Credentials) -> list[str]:
    ca = credentials.authority.ca
    return [
        str(binaries.kube_apiserver),
        "--etcd-servers=http://127.0.0.1:2379",
        f"--secure-port={addresses.API_PORT}",
        "--bind-address=0.0.0.0",
        f"--advertise-address={addresses.control_plane_address(cluster)}",
        f"--tls-cert-file={credentials.server.cert}",
        f"--tls-private-key-file={credentials.server.key}",
        f"--client-ca-file={ca}",
        f"--service-cluster-ip-range={cluster.service_cidr}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={credentials.service_account_public}",
        f"--service-account-signing-key-file={credentials.service_account_private}",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",  # as kubeadm has it; what a pod may be is for the node to refuse
        # The default order prefers host names, which no resolver here knows; exec and logs would hang.
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-certificate-authority={ca}",
        f"--kubelet-client-certificate={credentials.kubelet_client.cert}",
        f"--kubelet-client-key={credentials.kubelet_client.key}",
        f"--disable-admission-plugins={','.join(UNUSED_ADMISSION)}",
        "--endpoint-reconciler-type=lease",
        "--enable-priority-and-fairness=false",
        "--event-ttl=1h",
        "--profiling=false",
    ]


def kube_controller_manager(binaries: Binaries, cluster: ClusterSpec, credentials: Credentials) -> list[str]:
    return [
        str(binaries.kube_controller_manager),
        f"--kubeconfig={credentials.controller_manager.key.with_name('kube-controller-manager.kubeconfig')}",
        f"--controllers={','.join(CONTROLLERS)}",
        "--use-service-account-credentials=true",
        "--allocate-node-cidrs=true",
        f"--cluster-cidr={cluster.pod_cidr}",
        f"--service-cluster-ip-range={cluster.service_cidr}",
        f"--service-account-private-key-file={credentials.service_account_private}",
        f"--root-ca-file={credentials.authority.ca}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--node-monitor-period=2s",
        "--node-monitor-grace-period=16s",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]


def kube_scheduler(binaries: Binaries, credentials: Credentials) -> list[str]:
    return [
        str(binaries.kube_scheduler),
        f"--kubeconfig={credentials.scheduler.key.with_name('kube-scheduler.kubeconfig')}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]
