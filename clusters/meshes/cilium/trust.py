"""Whether the clusters of a mesh trust one another: one authority, all certificates signed by it, names that fit.

Helm makes new keys and certificates at each render, so what can be compared between clusters is never a certificate,
only who signed it. A signature is verified, not the issuer's name: authorities of the same name are what an
installation without ours would have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from meshproof.clusters.meshes.cilium.rendered import Rendered

AUTHORITY, SERVER = "cilium-ca", "clustermesh-apiserver-server-cert"
SERVED = ("*.mesh.cilium.io", "clustermesh-apiserver.kube-system.svc")
"""What peers, and the cluster's own agents, call a mesh API server."""


def one_trust(rendered: Mapping[str, Rendered]) -> Iterator[str]:
    """A sentence for each cluster or certificate that the others would not trust."""
    authorities = {name: objects.secret(AUTHORITY).get("ca.crt", b"") for name, objects in rendered.items()}
    first, model = next(iter(authorities.items()))
    for name, objects in rendered.items():
        if authorities[name] != model:
            yield f"{name} has another certificate authority than {first}"
        if (authority := _certificate(authorities[name])) is None:
            yield f"{name} has no certificate authority"
            continue
        for secret in objects.secrets():
            content = objects.secret(secret)
            if "tls.crt" in content:
                for fault in _faults(content, authorities[name], authority):
                    yield f"secret {secret} of {name} {fault}"
        yield from _unserved(name, objects)


def _faults(content: Mapping[str, bytes], pem: bytes, authority: x509.Certificate) -> Iterator[str]:
    if content.get("ca.crt", b"").strip() != pem.strip():
        yield "comes with another authority's certificate"
    if (certificate := _certificate(content["tls.crt"])) is None:
        yield "holds no certificate"
        return
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        yield "is not signed by the cluster's authority"
    if certificate.not_valid_after_utc > authority.not_valid_after_utc:
        yield f"is valid until {certificate.not_valid_after_utc:%Y-%m-%d}, longer than its authority"


def _unserved(name: str, objects: Rendered) -> Iterator[str]:
    certificate = _certificate(objects.secret(SERVER).get("tls.crt", b""))
    if certificate is None:
        yield f"{name} has no certificate to serve its peers with"
        return
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    served = names.get_values_for_type(x509.DNSName)
    for wanted in SERVED:
        if wanted not in served:
            yield f"{name} serves as {', '.join(served) or 'nobody'}, and is called {wanted}"


def _certificate(pem: bytes) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        return None
