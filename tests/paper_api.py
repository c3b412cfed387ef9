"""An API server on paper: it answers what a test says, by method and path, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

Answer = Callable[[Any], tuple[int, Any]]
"""From the request's body to a status and a document."""

NODE = {"metadata": {"name": "n", "labels": {}}, "spec": {"podCIDRs": ["10.1.0.0/24"]}}


@dataclass
class PaperApi:
    """`answers` by "METHOD path"; what is not there is a 404. `asked` has the same words, in order."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    port: int = 0

    def say(self, words: str, document: Any, status: int = 200) -> None:
        self.answers[words] = lambda _: (status, document)

    def written(self) -> list[str]:
        """What was asked that is not a read, and no question about oneself."""
        return [words for words in self.asked if not words.startswith("GET ") and "selfsubject" not in words]


def cluster_answers(uid: str = "u1", *, cilium: Mapping[str, str] | None = None, azure: bool = False) -> PaperApi:
    """A cluster that tells all, of this identity; whoever asks may do everything."""
    api = PaperApi()
    api.say("GET /version", {"gitVersion": "v1.33.1", "major": "1", "minor": "33"})
    api.say("GET /api/v1/namespaces/kube-system", {"metadata": {"uid": uid, "name": "kube-system"}})
    labels = {"kubernetes.azure.com/cluster": "mc"} if azure else {}
    api.say("GET /api/v1/nodes", {"items": [{**NODE, "metadata": {"name": n, "labels": labels}} for n in "ab"]})
    if cilium is not None:
        api.say("GET /api/v1/namespaces/kube-system/configmaps/cilium-config", {"data": dict(cilium)})
        image = {"image": "registry.example/cilium/cilium:v1.19.4@sha256:abc"}
        agents = {"spec": {"template": {"spec": {"containers": [image]}}}}
        api.say("GET /apis/apps/v1/namespaces/kube-system/daemonsets/cilium", agents)
    api.say("GET /api/v1/namespaces", {"items": [{"metadata": {"name": "default"}}]})
    api.say("GET /apis/networking.k8s.io/v1/networkpolicies", {"items": []})
    api.say("GET /apis/networking.k8s.io/v1/servicecidrs", {"items": [{"spec": {"cidrs": ["10.9.0.0/16"]}}]})
    me = {"status": {"userInfo": {"username": "jane@example.com"}}}
    api.say("POST /apis/authentication.k8s.io/v1/selfsubjectreviews", me)
    reviews = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    api.answers[reviews] = lambda body: (201, {"status": {"allowed": True}})
    api.answers["POST /api/v1/namespaces"] = lambda body: (201, body)
    return api


@contextmanager
def serving(apis: Mapping[str, PaperApi], folder: Path) -> Iterator[Path]:
    """They listen; a kubeconfig with a context for each, by its name."""
    servers = [_server(api) for api in apis.values()]
    parts: dict[str, Any] = {
        "clusters": [],
        "users": [{"name": "me", "user": {"token": "very-secret"}}],
        "contexts": [],
    }
    for name, api in apis.items():
        parts["clusters"].append({"name": name, "cluster": {"server": f"http://127.0.0.1:{api.port}"}})
        parts["contexts"].append({"name": name, "context": {"cluster": name, "user": "me"}})
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **parts}))
    try:
        yield path
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _nothing(_: Any) -> tuple[int, Any]:
    return 404, {"reason": "NotFound"}


def _server(api: PaperApi) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or each answer waits 40 ms, its body for the acknowledgement of its head

        def answer(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
            words = f"{self.command} {self.path.partition('?')[0]}"
            api.asked.append(f"{self.command} {self.path}")
            api.bodies.append(body)
            status, document = api.answers.get(words, _nothing)(body)
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 - the library's own names

        def log_message(self, *_: Any) -> None:
            """Nothing: what was asked is kept."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server
