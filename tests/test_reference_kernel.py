"""The rules of the reference mesh in a real kernel: three private namespaces, a node and two pods."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from meshproof.clusters.embedded import netns
from meshproof.clusters.meshes.reference import agent
from meshproof.clusters.meshes.reference.agent import Kernel, refuse_without_limit
from meshproof.clusters.meshes.reference.conntrack import Allowed, udp_only
from meshproof.clusters.meshes.reference.merge import Backend, Frontend
from meshproof.clusters.meshes.reference.nftables import Nftables, NftablesError
from meshproof.clusters.meshes.reference.records import Port
from meshproof.clusters.meshes.reference.ruleset import TABLE, compile_rules

pytestmark = pytest.mark.fleet

NODE, CLIENT, SERVER = (f"mp-{os.getpid()}-{name}" for name in ("node", "client", "server"))
CLIENT_IP, NODE_SIDE = "10.99.1.2", "10.99.1.1"
SERVERS = ["10.99.2.2", "10.99.2.3", "10.99.2.4"]
SERVICE = "172.20.0.10"
PORT = 80
TARGET = 8080
SECONDS = 3.0


def ip(namespace: str, *arguments: str) -> None:
    netns.inside(namespace, lambda: subprocess.run(["ip", *arguments], check=True, capture_output=True))


@pytest.fixture(scope="module", autouse=True)
def network() -> Iterator[None]:
    """A node between a client pod and a server pod that has three addresses; routed, no NAT."""
    with contextlib.ExitStack() as undo:
        if not netns.DIRECTORY.exists():
            netns.DIRECTORY.mkdir(parents=True)
            undo.callback(netns.DIRECTORY.rmdir)
        for name in (NODE, CLIENT, SERVER):
            netns.create(name)
            undo.callback(netns.delete, name)
        netns.inside(NODE, lambda: netns.write_sysctl("net/ipv4/ip_forward", "1"))
        netns.inside(NODE, refuse_without_limit)
        for pod, number in ((CLIENT, 1), (SERVER, 2)):
            ip(NODE, "link", "add", f"pod{number}", "type", "veth", "peer", "name", "eth0", "netns", pod)
            ip(NODE, "addr", "add", f"10.99.{number}.1/24", "dev", f"pod{number}")
            ip(NODE, "link", "set", f"pod{number}", "up")
            ip(pod, "link", "set", "eth0", "up")
        ip(CLIENT, "addr", "add", f"{CLIENT_IP}/24", "dev", "eth0")
        for address in SERVERS:
            ip(SERVER, "addr", "add", f"{address}/24", "dev", "eth0")
        ip(CLIENT, "route", "add", "default", "via", NODE_SIDE)
        ip(SERVER, "route", "add", "default", "via", "10.99.2.1")
        ip(NODE, "route", "add", "172.20.0.0/16", "dev", "pod2")
        undo.enter_context(answering(SERVER, SERVERS))
        undo.enter_context(answering(CLIENT, [CLIENT_IP]))
        yield


@contextlib.contextmanager
def answering(namespace: str, addresses: list[str]) -> Iterator[None]:
    """TCP and UDP servers that answer with their own address and the client's."""
    listeners = [
        netns.inside(namespace, functools.partial(socket.create_server, (address, TARGET))) for address in addresses
    ]
    datagrams = [netns.inside(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in addresses]

    def tcp(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, peer = listener.accept()
                with connection:
                    connection.sendall(f"{connection.getsockname()[0]} {peer[0]}".encode())

    def udp(datagram: socket.socket, address: str) -> None:
        with contextlib.suppress(OSError):
            while True:
                _, peer = datagram.recvfrom(100)
                if peer is None:
                    return  # shut down
                datagram.sendto(f"{address} {peer[0]}".encode(), peer)

    for listener in listeners:
        threading.Thread(target=tcp, args=(listener,), daemon=True).start()
    for datagram, address in zip(datagrams, addresses, strict=True):
        datagram.bind((address, TARGET))
        threading.Thread(target=udp, args=(datagram, address), daemon=True).start()
    try:
        yield
    finally:
        for opened in (*listeners, *datagrams):
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()


@pytest.fixture
def kernel() -> Iterator[Callable[..., bool]]:
    """A fresh agent's hold on the node's kernel; called with the frontends to put in force."""
    with netns.inside(NODE, Nftables) as nft:
        kernel = netns.inside(NODE, lambda: Kernel(nft))

        def apply(*frontends: Frontend, forgotten: Callable[[Allowed], Allowed] = udp_only) -> bool:
            return netns.inside(NODE, lambda: kernel.apply(frontends, compile_rules(frontends), forgotten))

        yield apply
        nft.run(f"add table ip {TABLE}\ndelete table ip {TABLE}")


def service(
    *backends: str, protocol: str = "TCP", hairpins: tuple[str, ...] = (), session_seconds: int = 0
) -> Frontend:
    chosen: tuple[Backend, ...] = tuple((backend, TARGET) for backend in backends)
    return Frontend("shop", "echo", SERVICE, Port("x", protocol, PORT), chosen, frozenset(hairpins), session_seconds)


def ask(namespace: str = CLIENT) -> list[str]:
    """One TCP connection to the service: who answered, and whom it saw."""

    def dial() -> list[str]:
        with socket.create_connection((SERVICE, PORT), timeout=SECONDS) as connection:
            return connection.recv(100).decode().split()

    return netns.inside(namespace, dial)


def test_connections_spread_over_all_backends_and_keep_their_source(kernel: Callable[..., bool]) -> None:
    """Every backend gets its share of new connections, and sees the client's own address."""
    kernel(service(*SERVERS))
    answers = [ask() for _ in range(300)]
    shares = collections.Counter(server for server, _ in answers)
    assert set(shares) == set(SERVERS)
    assert min(shares.values()) > 50  # 100 expected, sigma 8
    assert {source for _, source in answers} == {CLIENT_IP}


def test_a_removed_backend_gets_no_new_connections(kernel: Callable[..., bool]) -> None:
    """After a change only the backends that are left answer, and equal rules are not written again."""
    kernel(service(*SERVERS))
    assert kernel(service(SERVERS[1]))
    assert not kernel(service(SERVERS[1]))
    assert {ask()[0] for _ in range(50)} == {SERVERS[1]}


def test_processes_of_the_node_reach_the_service(kernel: Callable[..., bool]) -> None:
    """The output hook balances what the node itself dials."""
    kernel(service(*SERVERS))
    assert {ask(NODE)[0] for _ in range(60)} == set(SERVERS)


def test_a_pod_reaches_itself_through_its_own_service(kernel: Callable[..., bool]) -> None:
    """A hairpin is answered; only there the source becomes the node's."""
    kernel(service(CLIENT_IP, hairpins=(CLIENT_IP,)))
    assert ask() == [CLIENT_IP, NODE_SIDE]


@pytest.mark.parametrize("namespace", [CLIENT, NODE], ids=["pod", "node"])
def test_an_empty_service_refuses_at_once(kernel: Callable[..., bool], namespace: str) -> None:
    """TCP to a service without backends is reset within milliseconds, UDP gets port unreachable."""
    kernel(service(), service(protocol="UDP"))
    began = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        ask(namespace)
    # what a process sends is stopped before it leaves, and it is told so in another way
    with flow(namespace) as client, pytest.raises(ConnectionRefusedError if namespace == CLIENT else PermissionError):
        exchange(client)
    assert time.monotonic() - began < 0.5


def test_a_service_comes_goes_and_comes_again(kernel: Callable[..., bool]) -> None:
    """Chains and map elements of services that went leave nothing behind, and may come back."""
    for frontends in ([service(*SERVERS)], [service()], [service(SERVERS[0])], [], [service(SERVERS[2])]):
        kernel(*frontends)
    assert ask()[0] == SERVERS[2]
    kernel()
    with netns.inside(NODE, Nftables) as nft:
        assert SERVICE not in nft.run(f"list table ip {TABLE}")


def test_a_refused_transaction_leaves_the_old_rules() -> None:
    """When the kernel refuses one line, nothing of the transaction is in force, and the next one is whole again."""
    with netns.inside(NODE, Nftables) as nft:
        agent = netns.inside(NODE, lambda: Kernel(nft))
        good, other = ((service(SERVERS[number]),) for number in (0, 1))
        bad = replace(compile_rules(other), postrouting=("goto nowhere",))
        netns.inside(NODE, lambda: agent.apply(good, compile_rules(good)))
        with pytest.raises(NftablesError, match="No such file"):
            netns.inside(NODE, lambda: agent.apply(other, bad))
        assert {ask()[0] for _ in range(20)} == {SERVERS[0]}
        assert netns.inside(NODE, lambda: agent.apply(other, compile_rules(other)))
        assert {ask()[0] for _ in range(20)} == {SERVERS[1]}


def test_a_table_found_at_start_works_until_the_first_change(kernel: Callable[..., bool]) -> None:
    """A new agent adopts its predecessor's table: no connection fails between the two, whoever wrote what."""
    kernel(service(*SERVERS))
    failures: list[OSError] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            try:
                ask()
            except OSError as error:
                failures.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with netns.inside(NODE, Nftables) as nft:
        for number in range(500):
            successor = netns.inside(NODE, lambda: Kernel(nft))
            assert successor.adopted
            frontends = [service(*SERVERS[: 1 + number % 3])]
            netns.inside(NODE, functools.partial(successor.apply, frontends, compile_rules(frontends)))
    stop.set()
    watcher.join()
    assert failures == []


def test_an_established_connection_outlives_its_backend_list(kernel: Callable[..., bool]) -> None:
    """A connection whose service became empty goes on; only new ones are refused."""
    with contextlib.closing(netns.inside(SERVER, lambda: socket.create_server((SERVERS[0], 8099)))) as listener:
        at = Frontend("shop", "long", SERVICE, Port("l", "TCP", 81), ((SERVERS[0], 8099),), frozenset())
        kernel(at)
        client = netns.inside(CLIENT, lambda: socket.create_connection((SERVICE, 81), timeout=SECONDS))
        server, _ = listener.accept()
        with client, server:
            kernel(Frontend("shop", "long", SERVICE, Port("l", "TCP", 81), (), frozenset()))
            client.sendall(b"still here")
            assert server.recv(100) == b"still here"


def test_udp_flows_leave_a_removed_backend(kernel: Callable[..., bool]) -> None:
    """A UDP client that keeps its port reaches the new backend at its next packet, not the old one for ever."""
    kernel(service(SERVERS[0], protocol="UDP"))
    with flow(CLIENT) as client:
        assert exchange(client)[0] == SERVERS[0]
        kernel(service(*SERVERS[:2], protocol="UDP"))
        assert exchange(client)[0] == SERVERS[0]
        kernel(service(SERVERS[1], protocol="UDP"))
        assert exchange(client)[0] == SERVERS[1]


def test_a_udp_flow_older_than_its_service_finds_it(kernel: Callable[..., bool]) -> None:
    """A client that asked before the service was known gets through once it is."""
    kernel()
    with flow(CLIENT) as client:
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            exchange(client)
        kernel(service(SERVERS[1], protocol="UDP"))
        client.settimeout(SECONDS)
        assert exchange(client)[0] == SERVERS[1]


def test_tcp_and_udp_on_one_port_are_two_services(kernel: Callable[..., bool]) -> None:
    """The same address and port is balanced per protocol, each over its own backends."""
    kernel(service(SERVERS[0]), service(SERVERS[1], protocol="UDP"))
    assert {ask()[0] for _ in range(20)} == {SERVERS[0]}
    with flow(CLIENT) as client:
        assert exchange(client)[0] == SERVERS[1]
    kernel(service(SERVERS[2]), service(SERVERS[1], protocol="UDP"))
    assert ask()[0] == SERVERS[2]
    with flow(CLIENT) as client:
        assert exchange(client)[0] == SERVERS[1]


def test_a_client_stays_with_its_backend_whoever_comes_or_goes(kernel: Callable[..., bool]) -> None:
    """Session affinity holds over new connections, other backends' changes and the agent's own restart."""
    kernel(service(*SERVERS, session_seconds=60))
    chosen = ask()[0]
    others = [server for server in SERVERS if server != chosen]
    for backends in ([chosen, others[0]], [chosen, *others], [*others[1:], chosen]):
        kernel(service(*backends, session_seconds=60))
        assert {ask()[0] for _ in range(20)} == {chosen}
    with netns.inside(NODE, Nftables) as nft:
        successor = netns.inside(NODE, lambda: Kernel(nft))
        again = [service(*SERVERS, session_seconds=60)]
        netns.inside(NODE, lambda: successor.apply(again, compile_rules(again)))
    assert {ask()[0] for _ in range(20)} == {chosen}
    assert {ask(NODE)[0] for _ in range(20)} <= set(SERVERS)


def test_a_client_whose_backend_dies_gets_one_new_backend(kernel: Callable[..., bool]) -> None:
    """A pin goes with its backend, and does not come back with it."""
    kernel(service(*SERVERS, session_seconds=60))
    dead = ask()[0]
    kernel(service(*(server for server in SERVERS if server != dead), session_seconds=60))
    chosen = ask()[0]
    assert chosen != dead
    kernel(service(*SERVERS, session_seconds=60))
    assert {ask()[0] for _ in range(20)} == {chosen}


def test_a_session_ends_after_its_time(kernel: Callable[..., bool]) -> None:
    """A pin lapses when its client has been silent for so long; and nothing of it is left without session affinity."""
    kernel(service(*SERVERS, session_seconds=1))
    ask()
    assert CLIENT_IP in pins()
    until = time.monotonic() + SECONDS
    while CLIENT_IP in pins():
        assert time.monotonic() < until, "the pin does not lapse"
    kernel(service(*SERVERS))
    assert "set pin_" not in pins()
    assert {ask()[0] for _ in range(60)} == set(SERVERS)


def pins() -> str:
    """The node's table, from its first pin on."""
    with netns.inside(NODE, Nftables) as nft:
        listing = nft.table(TABLE)
    return listing[listing.index("set pin_") : listing.index("chain ")] if "set pin_" in listing else ""


def test_only_what_the_seam_names_is_forgotten(kernel: Callable[..., bool]) -> None:
    """A healthy change leaves TCP connections to a removed backend alone; a `forget` that names them cuts them off."""
    with contextlib.closing(netns.inside(SERVER, lambda: socket.create_server((SERVERS[0], 8099)))) as listener:
        at = Frontend("shop", "long", SERVICE, Port("l", "TCP", 81), ((SERVERS[0], 8099),), frozenset())
        elsewhere = replace(at, backends=((SERVERS[1], 8098),))
        kernel(at)
        client = netns.inside(CLIENT, lambda: socket.create_connection((SERVICE, 81), timeout=SECONDS))
        server, _ = listener.accept()
        with client, server:
            kernel(elsewhere)
            client.sendall(b"still here")
            assert server.recv(100) == b"still here"
            kernel(at)
            kernel(elsewhere, forgotten=lambda allowed: allowed)
            client.sendall(b"gone")
            with pytest.raises(ConnectionResetError):
                client.recv(100)


def test_flows_that_could_not_be_listed_are_forgotten_the_next_time(
    kernel: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change whose flows were not seen to, because the kernel failed, is not taken for done."""
    asked: list[Allowed] = []

    def fails_once(allowed: Allowed) -> int:
        asked.append(allowed)
        if len(asked) == 1:
            raise OSError("no list today")
        return 0

    monkeypatch.setattr(agent, "forget", fails_once)
    with pytest.raises(OSError, match="no list today"):
        kernel(service(*SERVERS, protocol="UDP"))
    for _ in range(2):
        kernel(service(*SERVERS, protocol="UDP"))
    assert asked == [{(SERVICE, "udp", PORT): {(server, TARGET) for server in SERVERS}}] * 2


@contextlib.contextmanager
def flow(namespace: str) -> Iterator[socket.socket]:
    with netns.inside(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(SECONDS)
        client.connect((SERVICE, PORT))
        yield client


def exchange(client: socket.socket) -> list[str]:
    client.send(b"?")
    return client.recv(100).decode().split()
