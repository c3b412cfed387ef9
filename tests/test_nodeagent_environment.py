"""What a container finds in its environment, command line and /etc."""

from __future__ import annotations

from typing import Any

from meshproof.clusters.embedded.nodeagent import environment
from meshproof.clusters.embedded.nodeagent.environment import Facts

FACTS = Facts(pod_ip="10.141.1.7", host_ip="10.101.0.101", node="east-1")
POD: dict[str, Any] = {
    "metadata": {
        "name": "echo-0",
        "namespace": "shop",
        "uid": "u-1",
        "labels": {"app": "echo"},
        "annotations": {"n/k": 'a"b'},
    },
    "spec": {"serviceAccountName": "default"},
}


def test_field_references_give_the_pods_own_values() -> None:
    """Every supported field path has its value, an absent label is empty."""
    paths = {
        "metadata.name": "echo-0",
        "metadata.namespace": "shop",
        "metadata.uid": "u-1",
        "metadata.labels['app']": "echo",
        "metadata.labels['none']": "",
        "metadata.annotations['n/k']": 'a"b',
        "metadata.labels": 'app="echo"',
        "metadata.annotations": 'n/k="a\\"b"',
        "spec.nodeName": "east-1",
        "spec.serviceAccountName": "default",
        "status.podIP": "10.141.1.7",
        "status.hostIP": "10.101.0.101",
    }
    assert {path: environment.field(POD, FACTS, path) for path in paths} == paths


def test_references_expand_once_and_unknown_ones_stay() -> None:
    """`$(A)` is replaced, `$$(A)` is `$(A)`, and an unknown name is left as it is written."""
    assert environment.expand("$(A) $$(A) $(B) $A $", {"A": "1"}) == "1 $(A) $(B) $A $"


def test_a_variable_sees_only_those_before_it() -> None:
    """Kubernetes expands in the order of the list."""
    container = {"env": [{"name": "A", "value": "$(B)"}, {"name": "B", "value": "2"}, {"name": "C", "value": "$(B)"}]}
    seen = environment.variables(POD, container, FACTS, {})
    assert (seen["A"], seen["B"], seen["C"]) == ("$(B)", "2", "2")


def test_nothing_of_the_agents_environment_is_passed_on() -> None:
    """A container without `env` has four names, none of them ours."""
    assert set(environment.variables(POD, {}, FACTS, {"L": "1"})) == {"PATH", "HOME", "HOSTNAME", "L"}


def test_service_links_name_host_and_ports() -> None:
    """A service gives the variables that kubelet gives; a headless one gives none."""
    service = {
        "metadata": {"name": "my-echo"},
        "spec": {"clusterIP": "172.20.0.9", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    }
    headless = {"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "ports": [{"port": 1, "protocol": "TCP"}]}}
    found = environment.service_variables([service, headless])
    assert found["MY_ECHO_SERVICE_HOST"] == "172.20.0.9"
    assert found["MY_ECHO_SERVICE_PORT_HTTP"] == "80"
    assert found["MY_ECHO_PORT_80_TCP"] == "tcp://172.20.0.9:80"
    assert not [name for name in found if name.startswith("H_")]


def test_command_replaces_the_images_and_args_are_added() -> None:
    """Without `command` the image's is kept."""
    assert environment.argv({"args": ["-x", "$(A)"]}, ["/coredns"], {"A": "1"}) == ["/coredns", "-x", "1"]
    assert environment.argv({"command": ["sh"], "args": ["-c"]}, ["/coredns"], {}) == ["sh", "-c"]


def test_cluster_first_resolves_in_the_cluster() -> None:
    """The cluster's server, the three search domains and ndots:5, then the pod's own additions."""
    pod = {**POD, "spec": {"dnsConfig": {"searches": ["x.example"], "options": [{"name": "ndots", "value": "2"}]}}}
    assert environment.resolv_file(pod, "172.20.0.10", "cluster.local", "nameserver 1.1.1.1") == (
        "nameserver 172.20.0.10\n"
        "search shop.svc.cluster.local svc.cluster.local cluster.local x.example\n"
        "options ndots:2\n"
    )


def test_default_policy_takes_the_nodes_resolver() -> None:
    """dnsPolicy Default has nothing of the cluster."""
    pod = {**POD, "spec": {"dnsPolicy": "Default"}}
    text = environment.resolv_file(pod, "172.20.0.10", "cluster.local", "# c\nnameserver 1.1.1.1\nsearch a b\n")
    assert text == "nameserver 1.1.1.1\nsearch a b\n"


def test_hosts_has_the_pod_under_its_names() -> None:
    """A pod with hostname and subdomain has its full name first."""
    pod = {**POD, "spec": {"hostname": "a", "subdomain": "b"}}
    assert "10.141.1.7\ta.b.shop.svc.cluster.local\ta\n" in environment.hosts_file(pod, "10.141.1.7", "cluster.local")
