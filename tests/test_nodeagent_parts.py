"""The node agent's smaller parts: images, identity, addresses, probes, logs, exec protocol, volumes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from meshproof.clusters.embedded.nodeagent import identity, images, logs, probes, sandbox, server, streams, volumes
from meshproof.clusters.embedded.nodeagent.environment import Facts
from meshproof.clusters.embedded.nodeagent.logs import Wanted


@pytest.mark.parametrize(
    "reference",
    [
        "python",
        "python:3.13",
        "registry.example/library/python:3.13-slim@sha256:ab",
        "localhost:5000/x/python",
        "python@sha256:ab",
    ],
)
def test_an_image_is_known_by_the_last_part_of_its_repository(reference: str) -> None:
    """Registry, tag and digest do not matter."""
    assert images.basename(reference) == "python"


def test_an_unknown_image_is_told_with_those_that_are_known(tmp_path: Path) -> None:
    """The message lists what the fleet has."""
    with pytest.raises(images.UnknownImage, match="has coredns, python"):
        images.resolve("nginx", {"python": "/bin/sh", "coredns": "/bin/sh"}, tmp_path)


def test_a_program_outside_usr_is_mounted_at_the_root(tmp_path: Path) -> None:
    """CoreDNS from a cache directory runs as /coredns, the host's own python where it is."""
    program = tmp_path / "coredns"
    program.write_text("")
    program.chmod(0o755)
    assert images.resolve("coredns", {"coredns": str(program)}, tmp_path).command == ("/coredns",)
    assert images.resolve("env", {"env": "/usr/bin/env"}, tmp_path).command == ("/usr/bin/env",)


def test_the_containers_security_context_wins_over_the_pods() -> None:
    """User and group are merged, ALL dropped and one capability added."""
    pod = {"spec": {"securityContext": {"runAsUser": 1, "runAsGroup": 2, "runAsNonRoot": True, "fsGroup": 7}}}
    own = {
        "runAsUser": 5,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
    }
    who = identity.identity(pod, {"securityContext": own})
    assert (who.uid, who.gid, who.groups) == (5, 2, (7,))
    assert who.capabilities == ("NET_BIND_SERVICE",)
    assert who.no_new_privileges
    assert not who.read_only


def test_root_is_refused_where_the_pod_forbids_it() -> None:
    """runAsNonRoot without a user cannot start."""
    with pytest.raises(identity.CannotStart, match="runAsNonRoot"):
        identity.identity({"spec": {}}, {"securityContext": {"runAsNonRoot": True}})


def test_a_freed_address_is_the_last_to_be_used_again() -> None:
    """Addresses go round; the first of the range is the gateway."""
    free = sandbox.Addresses("10.0.0.0/29", taken=["10.0.0.3"])
    assert free.gateway == "10.0.0.1"
    assert free.take() == "10.0.0.2"
    free.give_back("10.0.0.2")
    assert [free.take() for _ in range(4)] == ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]
    with pytest.raises(OSError, match="no pod address"):
        free.take()


def test_a_pod_that_was_there_keeps_its_address_and_the_round_goes_on() -> None:
    """After a restart of the agent the next new pod gets the address after the last one given out."""
    free = sandbox.Addresses("10.0.0.0/29", taken=["10.0.0.3"], after="10.0.0.4")
    assert free.take("10.0.0.3") == "10.0.0.3"
    assert free.take() == "10.0.0.5"
    assert sandbox.Addresses("10.0.0.0/29", [], after="10.0.0.6").take() == "10.0.0.2"


def test_a_sandbox_is_named_by_its_pod() -> None:
    """The same uid gives the same name, and its link name fits the kernel's fifteen characters."""
    name = sandbox.name_for("east", "u-1")
    assert name == sandbox.name_for("east", "u-1") != sandbox.name_for("east", "u-2")
    assert len(sandbox.Sandbox(name, "", "", "").link) <= 15


def test_a_probe_decides_after_enough_results_in_a_row() -> None:
    """Two successes and three failures, a change starts the count again."""
    tally = probes.Tally(probes.timing({"successThreshold": 2, "failureThreshold": 3}))
    results = [True, True, False, False, True, False, False, False]
    assert [tally.add(result) for result in results] == [None, True, None, None, None, None, None, False]


def test_probe_ports_may_have_names() -> None:
    """A name is looked up, a number is taken."""
    assert probes.port_number("http", {"http": 80}) == 80
    assert probes.port_number(8080, {}) == 8080
    with pytest.raises(KeyError):
        probes.port_number("none", {})


def write_log(path: Path) -> Path:
    path.write_bytes(
        b"2026-01-01T00:00:01.000000Z stdout F one\n"
        b"2026-01-01T00:00:02.000000Z stderr F two\n"
        b"2026-01-01T00:00:03.000000Z stdout P thr\n"
        b"2026-01-01T00:00:03.000000Z stdout F ee\n"
    )
    return path


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (Wanted(), b"one\ntwo\nthree\n"),
        (Wanted(tail=1), b"ee\n"),
        (Wanted(tail=0), b""),
        (Wanted(since="2026-01-01T00:00:02.000000Z"), b"two\nthree\n"),
        (Wanted(limit_bytes=5), b"one\nt"),
        (Wanted(timestamps=True, limit_bytes=32), b"2026-01-01T00:00:01.000000Z one\n"),
        (Wanted(follow=True), b"one\ntwo\nthree\n"),
    ],
)
def test_logs_are_shown_as_asked(tmp_path: Path, wanted: Wanted, shown: bytes) -> None:
    """Tail, since, limit, time stamps; following ends with the container."""
    assert b"".join(logs.read(write_log(tmp_path / "0.log"), wanted, lambda: True)) == shown


def test_log_options_come_from_the_query() -> None:
    """sinceSeconds is counted back from now, a bad number is an error."""
    now = dt.datetime(2026, 1, 1, 0, 1, tzinfo=dt.UTC)
    asked = server.wanted({"sinceSeconds": ["60"], "tailLines": ["5"], "follow": ["true"]}, now)
    assert asked == Wanted(follow=True, tail=5, since="2026-01-01T00:00:00.000000Z")
    with pytest.raises(ValueError, match="invalid literal"):
        server.wanted({"tailLines": ["x"]}, now)


def test_the_newest_protocol_is_chosen() -> None:
    """v5 when offered, v4 for the Python client, nothing for what we do not speak."""
    assert streams.choose("v4.channel.k8s.io, v5.channel.k8s.io") == "v5.channel.k8s.io"
    assert streams.choose("v4.channel.k8s.io") == "v4.channel.k8s.io"
    assert streams.choose("SPDY/3.1") == ""


def test_the_websocket_answer_is_the_standards() -> None:
    """RFC 6455's own example."""
    assert streams.accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_an_exit_code_reaches_the_client() -> None:
    """Non-zero codes and signals are causes of a Failure."""
    assert streams.verdict(0) == {"metadata": {}, "status": "Success"}
    assert streams.verdict(3)["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert streams.verdict(-9)["details"]["causes"][0]["message"] == "137"


POD: dict[str, Any] = {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"serviceAccountName": "s"}}


class FakeApi:
    """Answers for one ConfigMap and for tokens."""

    def __init__(self) -> None:
        self.tokens = 0

    def get(self, path: str, **query: str) -> dict[str, Any]:
        assert path == "/api/v1/namespaces/n/configmaps/cm"
        return {"data": {"a": "1", "b": "2"}}

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert path == "/api/v1/namespaces/n/serviceaccounts/s/token"
        assert body["spec"]["boundObjectRef"]["uid"] == "u"
        self.tokens += 1
        return {"status": {"token": f"t{self.tokens}"}}


def test_a_volume_is_swapped_as_a_whole(tmp_path: Path) -> None:
    """Renewing a token replaces the link, keeps the files beside it and leaves nothing old behind."""
    volume = {
        "projected": {
            "sources": [
                {"serviceAccountToken": {"path": "token"}},
                {"configMap": {"name": "cm", "items": [{"key": "b", "path": "deep/b", "mode": 0o600}]}},
                {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
            ]
        }
    }
    source = volumes.Source(FakeApi(), POD, Facts("1.2.3.4", "5.6.7.8", "node"))  # type: ignore[arg-type]  # the two calls that volumes make
    volumes.fill(tmp_path, volume, source)
    assert (tmp_path / "token").read_text() == "t1"
    volumes.fill(tmp_path, volume, source)
    assert (tmp_path / "token").read_text() == "t2"
    assert (tmp_path / "deep" / "b").read_text() == "2"
    assert (tmp_path / "deep" / "b").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ns").read_text() == "n"
    assert len([entry for entry in tmp_path.iterdir() if entry.name.startswith("..2") or entry.name[2:].isdigit()]) == 1


def test_a_missing_key_is_worth_waiting_for() -> None:
    """A ConfigMap without the key asked for is told by name, unless it is optional."""
    source = volumes.Source(FakeApi(), POD, Facts("", "", ""))  # type: ignore[arg-type]  # the two calls that volumes make
    body = {"name": "cm", "items": [{"key": "x", "path": "x"}]}
    with pytest.raises(volumes.NotYet, match="has no key 'x'"):
        list(volumes.files({"configMap": body}, source))
    assert list(volumes.files({"configMap": {**body, "optional": True}}, source)) == []


def test_tokens_are_renewed_before_they_end() -> None:
    """Four fifths of the shortest life; never without a token."""
    part = {"serviceAccountToken": {"path": "t", "expirationSeconds": 1000}}
    assert volumes.token_seconds({"spec": {"volumes": [{"projected": {"sources": [part]}}]}}) == 800
    assert volumes.token_seconds({"spec": {}}) == float("inf")
