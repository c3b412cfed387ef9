"""Objects a fleet's clusters start with, and how they are applied."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml

from meshproof.clusters.rest import Api, ApiError, Object

PATHS = {
    "Namespace": "/api/v1/namespaces",
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}
CONFLICT = 409


def load(path: Path) -> list[Object]:
    """The objects of a multi-document YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def create(api: Api, objects: Iterable[Object]) -> None:
    """Create each object that is not there yet. Raises ApiError, and KeyError for a kind not in PATHS."""
    for thing in objects:
        namespace = thing["metadata"].get("namespace", "")
        try:
            api.post(PATHS[thing["kind"]].format(namespace=namespace), thing)
        except ApiError as error:
            if error.status != CONFLICT:
                raise
