"""One pod, from the moment it is on our node until its object is gone: a thread that nobody else's pod can hold up.

The thread takes calls from its inbox (a change of the object, an end of a container, a probe's verdict), does what is
due, and tells the API when the status is another one than before.
"""

from __future__ import annotations

import queue
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from meshproof.clusters.embedded.nodeagent import house, podspec, sandbox, status
from meshproof.clusters.embedded.nodeagent.environment import Facts
from meshproof.clusters.embedded.nodeagent.house import House
from meshproof.clusters.embedded.nodeagent.keeper import Keeper
from meshproof.clusters.embedded.nodeagent.nodes import Node
from meshproof.clusters.embedded.nodeagent.plans import Surroundings
from meshproof.clusters.embedded.nodeagent.sandbox import Sandbox
from meshproof.clusters.embedded.nodeagent.volumes import NotYet
from meshproof.clusters.rest import ApiError

Object = Mapping[str, Any]

RETRY_SECONDS = 0.2
RETRY_SECONDS_MAX = 5.0
REFUSAL_SECONDS = 1.0
FORCED_GRACE_SECONDS = 2.0
TOKEN_RETRY_SECONDS = 10.0
NEVER = float("inf")


class Pod:
    """A pod's thread body, `live`, and the two calls that feed it, `update` and `removed` (thread-safe)."""

    def __init__(self, house: House, node: Node, pod: Object) -> None:
        self.keepers: dict[str, Keeper] = {}
        self._house = house
        self._node = node
        self._pod = pod
        self._uid: str = pod["metadata"]["uid"]
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._directory = house.scratch / "pods" / self._uid
        metadata = pod["metadata"]
        self._logs = house.logs / f"{metadata['namespace']}_{metadata['name']}_{self._uid}"
        self._path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        self._sandbox: Sandbox | None = None
        self._start_time = (pod.get("status") or {}).get("startTime") or status.now()
        self._before: Object = pod.get("status") or {}
        self._told: Object | None = None
        self._told_version = 0
        self._tell_at = 0.0
        self._token_at = NEVER
        self._gone = False

    def update(self, pod: Object) -> None:
        self._inbox.put(lambda: self._changed(pod))

    def removed(self) -> None:
        self._inbox.put(self._vanished)

    def live(self) -> None:
        """Runs until the pod is gone; never raises."""
        try:
            self._live()
        except Exception as error:  # noqa: BLE001 - one pod's trouble must not be another's
            traceback.print_exc(file=sys.stderr)
            self._house.tools.events.warning(self._pod, "AgentError", f"the node agent failed on this pod: {error}")
        finally:
            self._clean()

    def _live(self) -> None:
        if self._before.get("phase") in ("Succeeded", "Failed"):
            self._until_deleted()
        elif refused := podspec.refusals(self._pod["spec"]):
            self._refuse("not supported by the embedded fleet's node agent: " + ", ".join(refused))
            self._until_deleted()
        elif self._prepare():
            self._keep()
        if not self._gone:
            self._finish()

    @property
    def _going(self) -> bool:
        return self._gone or bool(self._pod["metadata"].get("deletionTimestamp"))

    @property
    def _grace(self) -> float:
        """Seconds of grace of a deletion; short when the object is gone already."""
        if self._gone:
            return FORCED_GRACE_SECONDS
        return float(self._pod["metadata"].get("deletionGracePeriodSeconds") or 0)

    def _changed(self, pod: Object) -> None:
        self._pod = pod
        if (
            self._told is not None
            and _version(pod) > self._told_version
            and _ready(pod.get("status") or {}) != _ready(self._told)
        ):
            self._told = None  # somebody else (node lifecycle) has written over our word

    def _vanished(self) -> None:
        self._gone = True

    def _wait(self, until: float) -> None:
        """Take one call from the inbox, and whatever else lies there, or wait until then."""
        left = until - time.monotonic()
        try:
            call = self._inbox.get(timeout=None if left == NEVER else max(0.0, left))
        except queue.Empty:
            return
        call()
        while not self._inbox.empty():
            self._inbox.get()()

    def _until_deleted(self) -> None:
        while not self._going:
            self._wait(NEVER)

    def _refuse(self, message: str) -> None:
        self._house.tools.events.warning(self._pod, "UnsupportedPodSpec", message)
        # A ReplicaSet replaces a failed pod at once; failing slower than it creates keeps the two from a storm.
        until = time.monotonic() + REFUSAL_SECONDS
        while time.monotonic() < until and not self._going:
            self._wait(until)
        while not self._going and not self._patch(status.failed("UnsupportedPodSpec", message)):
            self._wait(self._tell_at)

    def _prepare(self) -> bool:
        """Volumes, network and files; retried until they are there. False when the pod is deleted meanwhile."""
        pause = RETRY_SECONDS
        while not self._going:
            try:
                if self._sandbox is None:
                    with self._house.tools.gate:
                        self._sandbox = self._network()
                facts = Facts(self._sandbox.address, self._node.settings.address, self._node.settings.name)
                self._token_at = house.fill(self._house, self._pod, facts, self._directory)
                self._furnish(facts)
                return True
            except (OSError, NotYet, ApiError) as error:
                reason = "FailedCreatePodSandBox" if self._sandbox is None else "FailedMount"
                # The first refusal of a token is the authorizer's race with us, and no news.
                if pause > RETRY_SECONDS * 4:
                    self._house.tools.events.warning(self._pod, reason, str(error))
                    self._publish()
            until = time.monotonic() + pause
            pause = min(2 * pause, RETRY_SECONDS_MAX)
            while time.monotonic() < until and not self._going:
                self._wait(until)
        return False

    def _network(self) -> Sandbox:
        address, gateway = self._node.take(self._before.get("podIP") or "")
        made = Sandbox(sandbox.name_for(self._house.cluster, self._uid), self._node.settings.netns, address, gateway)
        try:
            sandbox.build(made)
        except BaseException:
            self._node.give_back(address)
            raise
        return made

    def _furnish(self, facts: Facts) -> None:
        """The files in /etc, and the keepers of the containers."""
        pod = self._pod
        house.write_etc(self._house, pod, facts, self._directory)
        assert self._sandbox is not None
        around = Surroundings(
            pod=pod,
            facts=facts,
            network=self._sandbox.name,
            node_netns=self._node.settings.netns,
            links=house.variables(self._house, pod),
            directory=self._directory,
            logs=self._logs,
            tell=self._inbox.put,
        )
        earlier = {entry["name"]: entry for entry in self._before.get("containerStatuses") or []}
        self.keepers = {
            spec["name"]: Keeper(self._house.tools, around, spec, earlier.get(spec["name"]) or {})
            for spec in pod["spec"]["containers"]
        }

    def _keep(self) -> None:
        """The pod's life with its containers, to its end or its deletion's."""
        for one in self.keepers.values():
            one.tick()
        while True:
            going = self._going
            if going:
                for one in self.keepers.values():
                    one.give_up(self._grace)
            if not self._gone:
                self._publish()
            if going and all(one.run is None for one in self.keepers.values()):
                return
            due = [one.due for one in self.keepers.values()]
            self._wait(min([*due, self._token_at, self._tell_at if self._told is None else NEVER]))
            if not self._going:
                for one in self.keepers.values():
                    one.tick()
                self._renew_tokens()

    def _renew_tokens(self) -> None:
        if time.monotonic() < self._token_at or self._sandbox is None:
            return
        facts = Facts(self._sandbox.address, self._node.settings.address, self._node.settings.name)
        try:
            self._token_at = house.fill(self._house, self._pod, facts, self._directory, only_tokens=True)
        except NotYet:
            self._token_at = time.monotonic() + TOKEN_RETRY_SECONDS

    def _publish(self) -> None:
        placement = status.Placement(
            self._node.settings.address, self._sandbox.address if self._sandbox else "", self._start_time
        )
        views = [one.view for one in self.keepers.values()] or [
            status.creating(spec) for spec in self._pod["spec"]["containers"]
        ]
        wanted = status.pod_status(views, placement, self._before)
        self._before = wanted
        if wanted != self._told and time.monotonic() >= self._tell_at:
            self._patch(wanted)

    def _patch(self, wanted: Object) -> bool:
        """Tell the API; false when it did not take it, then `_tell_at` says when to try again."""
        try:
            answer = self._house.api.patch(
                f"{self._path}/status", {"metadata": {"uid": self._uid}, "status": wanted}, kind="strategic"
            )
        except ApiError as error:
            if error.status in (404, 409):
                self._told = wanted  # gone, or another pod of that name: the watch will say so
                return True
            self._told, self._tell_at = None, time.monotonic() + RETRY_SECONDS
            return False
        self._told, self._told_version = wanted, _version(answer)
        return True

    def _finish(self) -> None:
        """The last word of a graceful deletion: nothing of the pod runs, so its object may go."""
        self._clean()
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": self._uid},
        }
        while not self._gone:
            try:
                self._house.api.delete(self._path, body)
                return
            except ApiError as error:
                if error.status in (404, 409):
                    return
                self._wait(time.monotonic() + RETRY_SECONDS)

    def _clean(self) -> None:
        """Remove network, files and logs. Idempotent."""
        for one in self.keepers.values():
            if one.run is not None:
                one.run.kill()
                one.run.gone.wait()
        if self._sandbox is not None:
            sandbox.remove(self._sandbox)
            self._node.give_back(self._sandbox.address)
            self._sandbox = None
        shutil.rmtree(self._directory, ignore_errors=True)
        shutil.rmtree(self._logs, ignore_errors=True)


def _version(pod: Object) -> int:
    return int(pod["metadata"].get("resourceVersion") or 0)


def _ready(pod_status: Object) -> str:
    return next((entry["status"] for entry in pod_status.get("conditions") or [] if entry["type"] == "Ready"), "")
