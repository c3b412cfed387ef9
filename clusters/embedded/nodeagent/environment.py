"""A container's environment, command and pod-specific files, worked out from the pod alone (pure functions)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REFERENCE = re.compile(r"\$(?:\$|\(([^()]+)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the API object of a pod does not say yet when its containers start."""

    pod_ip: str
    host_ip: str
    node: str


def field(pod: Object, facts: Facts, path: str) -> str:
    """The value of a downward API field path; absent labels and annotations are empty."""
    metadata = pod["metadata"]
    known = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": facts.node,
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", ""),
        "status.podIP": facts.pod_ip,
        "status.podIPs": facts.pod_ip,
        "status.hostIP": facts.host_ip,
        "status.hostIPs": facts.host_ip,
    }
    if path in known:
        return str(known[path])
    if path in ("metadata.labels", "metadata.annotations"):
        pairs = metadata.get(path.removeprefix("metadata.")) or {}
        return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(pairs.items()))
    match = _SUBSCRIPT.fullmatch(path)
    if match is None:
        raise KeyError(path)
    return str((metadata.get(match[1]) or {}).get(match[2], ""))


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where NAME is known and left where not; `$$` is one dollar sign."""

    def replacement(match: re.Match[str]) -> str:
        if match[1] is None:
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(replacement, text)


def variables(pod: Object, container: Object, facts: Facts, links: Mapping[str, str]) -> dict[str, str]:
    """The container's whole environment, `links` being its service variables; nothing of the agent's own is in it."""
    seen = {"PATH": PATH, "HOME": "/", "HOSTNAME": hostname(pod), **links}
    for entry in container.get("env") or []:
        source = entry.get("valueFrom")
        if source:
            seen[entry["name"]] = field(pod, facts, source["fieldRef"]["fieldPath"])
        else:
            seen[entry["name"]] = expand(entry.get("value") or "", seen)
    return seen


def service_variables(services: Iterable[Object]) -> dict[str, str]:
    """NAME_SERVICE_HOST and the older link variables for each service with a cluster address."""
    found: dict[str, str] = {}
    for service in services:
        address = service["spec"].get("clusterIP") or "None"
        ports = service["spec"].get("ports") or []
        if address == "None" or not ports:
            continue
        name = service["metadata"]["name"].upper().replace("-", "_")
        first = ports[0]
        found[f"{name}_SERVICE_HOST"] = address
        found[f"{name}_SERVICE_PORT"] = str(first["port"])
        found[f"{name}_PORT"] = f"{first['protocol'].lower()}://{address}:{first['port']}"
        for port in ports:
            if port.get("name"):
                found[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
            protocol = port["protocol"].lower()
            prefix = f"{name}_PORT_{port['port']}_{protocol.upper()}"
            found[prefix] = f"{protocol}://{address}:{port['port']}"
            found[f"{prefix}_PROTO"] = protocol
            found[f"{prefix}_PORT"] = str(port["port"])
            found[f"{prefix}_ADDR"] = address
    return found


def argv(container: Object, default: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The command line: `command` replaces the image's, `args` are added, variables expanded."""
    words = [*(container.get("command") or default), *(container.get("args") or [])]
    return [expand(word, environment) for word in words]


def hostname(pod: Object) -> str:
    name: str = pod["spec"].get("hostname") or pod["metadata"]["name"]
    return name[:63].rstrip("-.")


def hosts_file(pod: Object, pod_ip: str, domain: str) -> str:
    name = hostname(pod)
    subdomain = pod["spec"].get("subdomain")
    names = f"{name}.{subdomain}.{pod['metadata']['namespace']}.svc.{domain}\t{name}" if subdomain else name
    return f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{pod_ip}\t{names}\n"


def resolv_file(pod: Object, dns: str, domain: str, of_host: str) -> str:
    """resolv.conf for the pod's dnsPolicy and dnsConfig; `of_host` is the node's own file."""
    policy = pod["spec"].get("dnsPolicy", "ClusterFirst")
    servers: list[str] = []
    searches: list[str] = []
    options: dict[str, str | None] = {}
    if policy == "ClusterFirst":
        servers = [dns]
        searches = [f"{pod['metadata']['namespace']}.svc.{domain}", f"svc.{domain}", domain]
        options = {"ndots": "5"}
    elif policy == "Default":
        lines = [line.split() for line in of_host.splitlines()]
        servers = [words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1]
        searches = [word for words in lines if words[:1] == ["search"] for word in words[1:]]
    extra = pod["spec"].get("dnsConfig") or {}
    servers = list(dict.fromkeys([*servers, *(extra.get("nameservers") or [])]))
    searches = list(dict.fromkeys([*searches, *(extra.get("searches") or [])]))
    options.update({option["name"]: option.get("value") for option in extra.get("options") or []})
    lines_out = [f"nameserver {server}" for server in servers]
    if searches:
        lines_out.append("search " + " ".join(searches))
    if options:
        words_out = [name if value is None else f"{name}:{value}" for name, value in options.items()]
        lines_out.append("options " + " ".join(words_out))
    return "\n".join(lines_out) + "\n"
