"""A pod's volumes: directories on the scratch tmpfs, filled from the API and bind-mounted into containers.

Files of ConfigMaps, the downward API and tokens lie behind a `..data` link that is swapped as a whole, so that a
renewed token is never half there. Only tokens are renewed; the rest is read once.
"""

from __future__ import annotations

import base64
import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshproof.clusters.embedded.nodeagent import environment
from meshproof.clusters.embedded.nodeagent.environment import Facts
from meshproof.clusters.rest import Api, ApiError

Object = Mapping[str, Any]

TOKEN_SECONDS = 3600


class NotYet(Exception):
    """A volume cannot be made now (its ConfigMap is missing, its token refused); try again later."""


@dataclass(frozen=True, slots=True)
class File:
    path: str
    """Relative to the volume."""
    content: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class Source:
    """Where volume content comes from: the API, as the pod may see it."""

    api: Api
    pod: Object
    facts: Facts

    def config_map(self, name: str) -> Object | None:
        namespace = self.pod["metadata"]["namespace"]
        try:
            return self.api.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise NotYet(f"configmap {name!r}: {error}") from error

    def token(self, audience: str, seconds: int) -> str:
        """A token bound to the pod; raises NotYet."""
        metadata, account = self.pod["metadata"], self.pod["spec"].get("serviceAccountName") or "default"
        spec = {
            "expirationSeconds": seconds,
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]},
            **({"audiences": [audience]} if audience else {}),
        }
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        try:
            answer = self.api.post(f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token", body)
        except ApiError as error:
            raise NotYet(f"token of service account {account!r}: {error}") from error
        token: str = answer["status"]["token"]
        return token


def fill(directory: Path, volume: Object, source: Source) -> None:
    """Make the volume's directory, or renew its files. Raises NotYet."""
    group = (source.pod["spec"].get("securityContext") or {}).get("fsGroup")
    directory.mkdir(parents=True, exist_ok=True)
    if "emptyDir" in volume:
        directory.chmod(0o777 if group is None else 0o2777)
    else:
        directory.chmod(0o755)
        _publish(directory, list(files(volume, source)), group)
    if group is not None:
        os.chown(directory, -1, int(group))


def has_token(volume: Object) -> bool:
    """Whether the volume holds a token, which must be renewed."""
    return any("serviceAccountToken" in part for part in (volume.get("projected") or {}).get("sources") or [])


def token_seconds(pod: Object) -> float:
    """How long until the pod's tokens should be renewed: four fifths of the shortest life; infinite without a token."""
    lives = [
        part["serviceAccountToken"].get("expirationSeconds") or TOKEN_SECONDS
        for volume in pod["spec"].get("volumes") or []
        for part in (volume.get("projected") or {}).get("sources") or []
        if "serviceAccountToken" in part
    ]
    return 0.8 * min(lives, default=float("inf"))


def files(volume: Object, source: Source) -> Iterator[File]:
    """The files of a volume, whatever its kind. Raises NotYet."""
    if "configMap" in volume:
        body = volume["configMap"]
        yield from _config_files(body, body.get("defaultMode", 0o644), source)
    elif "downwardAPI" in volume:
        body = volume["downwardAPI"]
        yield from _downward_files(body, body.get("defaultMode", 0o644), source)
    elif "projected" in volume:
        mode = volume["projected"].get("defaultMode", 0o644)
        for part in volume["projected"].get("sources") or []:
            if "configMap" in part:
                yield from _config_files(part["configMap"], mode, source)
            elif "downwardAPI" in part:
                yield from _downward_files(part["downwardAPI"], mode, source)
            elif "serviceAccountToken" in part:
                wanted = part["serviceAccountToken"]
                seconds = int(wanted.get("expirationSeconds") or TOKEN_SECONDS)
                token = source.token(wanted.get("audience", ""), seconds)
                yield File(wanted["path"], token.encode(), mode)


def _config_files(body: Object, mode: int, source: Source) -> Iterator[File]:
    found = source.config_map(body["name"])
    if found is None:
        if body.get("optional"):
            return
        raise NotYet(f"configmap {body['name']!r} not found")
    content = {key: value.encode() for key, value in (found.get("data") or {}).items()}
    content.update({key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()})
    items = body.get("items") or [{"key": key, "path": key} for key in sorted(content)]
    for item in items:
        if item["key"] not in content:
            if body.get("optional"):
                continue
            raise NotYet(f"configmap {body['name']!r} has no key {item['key']!r}")
        yield File(item["path"], content[item["key"]], item.get("mode") or mode)


def _downward_files(body: Object, mode: int, source: Source) -> Iterator[File]:
    for item in body.get("items") or []:
        text = environment.field(source.pod, source.facts, item["fieldRef"]["fieldPath"])
        yield File(item["path"], text.encode(), item.get("mode") or mode)


def _publish(directory: Path, wanted: list[File], group: int | None) -> None:
    """Write all files beside the old ones and swap the `..data` link."""
    stamp = f"..{time.time_ns()}"
    fresh = directory / stamp
    fresh.mkdir(mode=0o755)
    for file in wanted:
        path = fresh / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode if group is None else file.mode | 0o040)
        if group is not None:
            os.chown(path, -1, int(group))
    data = directory / "..data"
    old = os.readlink(data) if data.is_symlink() else ""
    link = directory / "..data_new"
    link.symlink_to(stamp)
    link.replace(data)
    for top in {file.path.split("/", 1)[0] for file in wanted}:
        with contextlib.suppress(FileExistsError):
            (directory / top).symlink_to(f"..data/{top}")
    if old:
        _remove(directory / old)


def _remove(directory: Path) -> None:
    for root, folders, names in os.walk(directory, topdown=False):
        for name in names:
            os.unlink(os.path.join(root, name))
        for name in folders:
            os.rmdir(os.path.join(root, name))
    directory.rmdir()
