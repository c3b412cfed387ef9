"""Certificates of a fleet: private files, chains that verify, and clusters that cannot pass for one another."""

from __future__ import annotations

import ssl
import stat
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from meshproof.clusters import fleetfile
from meshproof.clusters.embedded import addresses, controlplane, pki
from meshproof.clusters.fleet import ClusterSpec

EAST, WEST = fleetfile.load(fleetfile.FLEETS / "two.yaml").clusters
Issued = dict[str, controlplane.Credentials]


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    folder = tmp_path_factory.mktemp("fleet") / "pki"
    return {cluster.name: controlplane.issue(cluster, folder / cluster.name) for cluster in (EAST, WEST)}


def certificate(pair: pki.Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.cert.read_bytes())


def handshake(server: pki.Pair, client: pki.Pair, *, server_trusts: Path, client_trusts: Path, name: str) -> None:
    """A mutual TLS handshake in memory. Raises ssl.SSLError when one side refuses the other."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    inbound = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(server_trusts))
    inbound.verify_mode = ssl.CERT_REQUIRED
    inbound.load_cert_chain(server.cert, server.key)
    outbound = ssl.create_default_context(cafile=str(client_trusts))
    outbound.load_cert_chain(client.cert, client.key)
    sides = [
        outbound.wrap_bio(back, there, server_hostname=name),
        inbound.wrap_bio(there, back, server_side=True),
    ]
    waiting = list(sides)
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)


def test_everything_is_readable_by_its_owner_only(issued: Issued) -> None:
    """Every file of the pki is 0600 and every directory 0700, whatever the umask."""
    top = issued["east"].authority.directory.parent
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [top, *top.rglob("*")]}
    assert len(modes) > 40
    assert {path: oct(mode) for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}


def test_a_file_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    """A secret written over a file that others could read takes that from them."""
    path = tmp_path / "key"
    path.write_text("a longer text than the new one")
    path.chmod(0o644)
    pki.write_secret(path, b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o600)


def test_kubeconfigs_are_private_and_one_context_a_cluster(issued: Issued, tmp_path: Path) -> None:
    """The merged kubeconfig holds every cluster's context by name, and only its owner reads it."""
    for cluster in (EAST, WEST):
        own = issued[cluster.name]
        content = controlplane.kubeconfig(cluster, own.authority, own.admin)
        controlplane.write_kubeconfig(tmp_path / cluster.name, content)
    controlplane.write_merged_kubeconfig(tmp_path, ["east", "west"])
    import yaml

    merged = yaml.safe_load((tmp_path / "all").read_text())
    assert [context["name"] for context in merged["contexts"]] == ["east", "west"]
    assert merged["current-context"] == "east"
    assert len({user["user"]["client-key"] for user in merged["users"]}) == 2
    assert "-data" not in (tmp_path / "all").read_text(), "Python clients leave embedded keys in temporary files"
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_key_belongs_to_one_certificate(issued: Issued) -> None:
    """No two certificates of a fleet share a key or a serial number."""
    pairs = [getattr(each, field.name) for each in issued.values() for field in fields(each)]
    certificates = [certificate(pair) for pair in pairs if isinstance(pair, pki.Pair)]
    assert len({found.public_key().public_bytes(*PEM) for found in certificates}) == len(certificates)
    assert len({found.serial_number for found in certificates}) == len(certificates)


PEM = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("cluster", [EAST, WEST], ids=lambda cluster: str(cluster.name))
def test_each_clusters_parts_accept_each_other(issued: Issued, cluster: ClusterSpec) -> None:
    """Every user's certificate is accepted by the API server, and the API server by its address and by its name."""
    own = issued[cluster.name]
    ca = own.authority.ca
    for name in (addresses.control_plane_address(cluster), "kubernetes.default.svc", "127.0.0.1"):
        for user in (own.admin, own.controller_manager, own.scheduler, own.node_agent, own.mesh, own.kubelet_client):
            handshake(own.server, user, server_trusts=ca, client_trusts=ca, name=name)
    node = addresses.node_names(cluster)[0]
    for name in (node, addresses.node_address(cluster, node)):
        handshake(own.kubelet_server, own.kubelet_client, server_trusts=ca, client_trusts=ca, name=name)


def test_a_server_is_only_who_its_certificate_says(issued: Issued) -> None:
    """A name or address that is not in the certificate is refused, though the authority is the right one."""
    own = issued["east"]
    ca = own.authority.ca
    for name in ("10.101.0.11", addresses.control_plane_address(WEST), "west-1", "evil.example"):
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(own.server, own.admin, server_trusts=ca, client_trusts=ca, name=name)


def test_no_cluster_passes_for_another(issued: Issued) -> None:
    """East's admin is refused by west's API server, and west's server by who trusts east's authority."""
    east, west = issued["east"], issued["west"]
    name = addresses.control_plane_address(WEST)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(west.server, east.admin, server_trusts=west.authority.ca, client_trusts=west.authority.ca, name=name)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(west.server, west.admin, server_trusts=west.authority.ca, client_trusts=east.authority.ca, name=name)


def test_a_clients_certificate_cannot_serve_or_sign(issued: Issued) -> None:
    """A user's certificate is refused as a server's; no certificate but the authority's may sign others."""
    own = issued["east"]
    with pytest.raises(ssl.SSLError):
        handshake(
            own.admin, own.admin, server_trusts=own.authority.ca, client_trusts=own.authority.ca, name="kubernetes"
        )
    for pair in (own.server, own.admin, own.kubelet_server):
        found = certificate(pair)
        assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert not found.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    limits = own.authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (limits.ca, limits.path_length) == (True, 0)


def test_names_and_addresses_of_the_servers(issued: Issued) -> None:
    """The API server answers for its address, the kubernetes service and itself; the node agent for every node."""

    def alternatives(pair: pki.Pair) -> tuple[set[str], set[IPv4Address]]:
        names = certificate(pair).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return set(names.get_values_for_type(x509.DNSName)), set(names.get_values_for_type(x509.IPAddress))  # type: ignore[arg-type]  # only IPv4 is issued

    names, own = alternatives(issued["east"].server)
    assert "kubernetes.default.svc.cluster.local" in names
    assert own == {IPv4Address("10.101.0.10"), IPv4Address("172.20.0.1"), IPv4Address("127.0.0.1")}
    assert alternatives(issued["east"].kubelet_server) == (
        {"east-1", "east-2"},
        {IPv4Address("10.101.0.101"), IPv4Address("10.101.0.102")},
    )


def test_users_are_who_rbac_knows(issued: Issued) -> None:
    """CN and O are the user and group that the API server reads; only the admin is of system:masters."""

    def who(pair: pki.Pair) -> tuple[str, list[str]]:
        subject = certificate(pair).subject
        names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        groups = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        return str(names[0].value), [str(group.value) for group in groups]

    own = issued["east"]
    assert who(own.admin) == ("admin", ["system:masters"])
    assert who(own.node_agent) == ("meshproof:node-agent", [])
    assert who(own.mesh) == ("meshproof:reference-mesh", [])
    assert who(own.controller_manager) == ("system:kube-controller-manager", [])
    assert who(own.scheduler) == ("system:kube-scheduler", [])


def test_certificates_are_valid_now_and_for_their_time(issued: Issued) -> None:
    """Valid a little before now, because clocks differ, and as long as said."""
    now = datetime.now(UTC)
    found = certificate(issued["east"].server)
    assert found.not_valid_before_utc < now - timedelta(minutes=4)
    assert now + pki.VALID - timedelta(hours=1) < found.not_valid_after_utc <= now + pki.VALID


def test_an_authority_is_never_made_twice(tmp_path: Path) -> None:
    """A second authority in the same directory is refused, so that no certificate silently loses its own."""
    pki.new_authority(tmp_path / "pki" / "east", "east")
    with pytest.raises(FileExistsError):
        pki.new_authority(tmp_path / "pki" / "east", "east")


def test_the_longest_cluster_name_fits_a_certificate(tmp_path: Path) -> None:
    """A cluster name of 32 characters and the mesh's names made of it fit the 64 of a common name."""
    name = "c" * 32
    authority = pki.new_authority(tmp_path / name, f"meshproof {name}")
    pair = authority.server(f"server-{name}", [f"{name}.mesh.meshproof"], ["10.0.0.1"])
    assert certificate(pair).issuer == authority.certificate.subject
