"""Who a container runs as, from the security contexts of the pod and the container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]

CAPABILITIES = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "NET_BIND_SERVICE": 10,
    "NET_RAW": 13,
    "SYS_CHROOT": 18,
    "AUDIT_WRITE": 29,
    "SETFCAP": 31,
}
"""What a container runtime gives by default (without MKNOD, because these users are the host's)."""


class CannotStart(Exception):
    """The container's program could not be run; the message goes into its status."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The user a container runs as and what it may do."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: tuple[str, ...]
    no_new_privileges: bool
    read_only: bool


def identity(pod: Object, container: Object) -> Identity:
    """From both security contexts, the container's first. Raises CannotStart for root where runAsNonRoot is set."""
    of_pod = pod["spec"].get("securityContext") or {}
    own = container.get("securityContext") or {}
    merged = {**of_pod, **{key: value for key, value in own.items() if value is not None}}
    uid = int(merged.get("runAsUser") or 0)
    gid = int(merged.get("runAsGroup") or 0)
    if merged.get("runAsNonRoot") and uid == 0:
        raise CannotStart("container has runAsNonRoot and image will run as root")
    groups = [int(group) for group in of_pod.get("supplementalGroups") or []]
    if of_pod.get("fsGroup") is not None:
        groups.append(int(of_pod["fsGroup"]))
    rights = own.get("capabilities") or {}
    dropped = {name.upper().removeprefix("CAP_") for name in rights.get("drop") or []}
    kept = [] if "ALL" in dropped else [name for name in CAPABILITIES if name not in dropped]
    kept += [name for name in rights.get("add") or [] if name not in kept]
    return Identity(
        uid=uid,
        gid=gid,
        groups=tuple(groups),
        capabilities=tuple(kept),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        read_only=bool(own.get("readOnlyRootFilesystem")),
    )
