"""The chart, rendered by Helm's own engine, with a cluster that answers where it asks for one."""

import functools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml
from helm_python.config import Config

from tests.support.processes import ROOT

HELM = ROOT / "helm"
CASES = sorted(HELM.glob("ci/*-values.yaml"))
OLDEST, NEWEST = "1.30.0", kubernetes_validate.latest_version()
Manifest = dict[str, Any]


class UniqueKeys(yaml.CSafeLoader):
    """YAML in which a key given twice is an error, as Kubernetes' strict decoding has it."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        assert len(keys) == len(set(keys)), f"a key is given twice in {keys}"
        return super().construct_mapping(node, deep)


def render(values: Manifest | None = None, chart: Path = HELM, **options: Any) -> list[Manifest]:
    """What the chart installs with `values`, in the order of its templates; refuses what the schema refuses."""
    with helm_python.Chart.load(chart) as loaded:
        loaded.validate_schema(values or {})
        texts = loaded.render(values or {}, **{"name": "oo", "namespace": "prod"} | options)
    found = []
    for name, text in texts.items():
        if not name.endswith("NOTES.txt"):
            found += [item for item in yaml.load_all(text, UniqueKeys) if item]
    return found


def case_values(path: Path) -> Manifest:
    values: Manifest = yaml.safe_load(path.read_text())
    return values


@functools.cache
def case(path: Path) -> list[Manifest]:
    """The objects of one file of helm/ci; not to be changed."""
    return render(case_values(path))


def named(name: str) -> list[Manifest]:
    return case(HELM / "ci" / f"{name}-values.yaml")


def one(manifests: list[Manifest], kind: str, name: str = "") -> Manifest:
    """The object of this kind, the only one unless `name` says which."""
    (found,) = [item for item in manifests if item["kind"] == kind and item["metadata"]["name"].endswith(name)]
    return found


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Each pod (metadata and spec) that the objects make, by the name of its component."""
    for item in manifests:
        if item["kind"] in ("Deployment", "StatefulSet"):
            pod = item["spec"]["template"]
        elif item["kind"] == "CronJob":
            pod = item["spec"]["jobTemplate"]["spec"]["template"]
        elif item["kind"] == "Pod":
            pod = item
        else:
            continue
        yield pod["metadata"]["labels"]["app.kubernetes.io/component"], pod


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def environment(container: Manifest) -> dict[str, Manifest]:
    return {entry["name"]: entry for entry in container.get("env", [])}


def refusal(values: Manifest, chart: Path = HELM) -> str:
    """What the user reads when Helm refuses `values`."""
    with pytest.raises(helm_python.HelmError) as caught:
        render(values, chart)
    return str(caught.value)


def external(url: str, **values: Any) -> Manifest:
    return {"redis": {"enabled": False}, "secrets": {"REDIS_URL": {"value": url}}, **values}


def notes(values: Manifest, **options: Any) -> str:
    with helm_python.Chart.load(HELM) as chart:
        texts = chart.render(values, **{"name": "oo", **options})
    (text,) = [text for name, text in texts.items() if name.endswith("NOTES.txt")]
    return str(text)


# The kinds that the chart asks a cluster for: where they are, and what they are called there.
ASKED = {
    "Secret": ("/api/v1", "secrets"),
    "Service": ("/api/v1", "services"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
}


def answer(path: str, objects: list[Manifest]) -> Manifest:
    """What an API server that has `objects`, all of the namespace prod, answers to GET `path`."""
    if path == "/version":
        return {"major": "1", "minor": "30", "gitVersion": f"v{OLDEST}"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        preferred = {"groupVersion": "apps/v1", "version": "v1"}
        group = {"name": "apps", "versions": [preferred], "preferredVersion": preferred}
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}
    if path in ("/api/v1", "/apis/apps/v1"):
        resources = [
            {"name": name, "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": ["get", "list"]}
            for kind, (root, name) in ASKED.items()
            if root == path
        ]
        group_version = path.removeprefix("/apis/").removeprefix("/api/")
        return {"kind": "APIResourceList", "groupVersion": group_version, "resources": resources}
    for kind, (root, name) in ASKED.items():
        base = f"{root}/namespaces/prod/{name}"
        found = [item for item in objects if item["kind"] == kind]
        if path == base:
            version = root.removeprefix("/apis/").removeprefix("/api/")
            return {"kind": f"{kind}List", "apiVersion": version, "metadata": {}, "items": found}
        for item in found:
            if path == f"{base}/{item['metadata']['name']}":
                return item
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound"}


@contextmanager
def kubernetes(objects: list[Manifest]) -> Iterator[str]:
    """As much of an API server as reading `objects` takes; yields a kubeconfig for it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answered = answer(self.path.partition("?")[0], objects)
            body = json.dumps(answered).encode()
            self.send_response(answered.get("code", 200))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: object = "-", size: object = "-") -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "users": [{"name": "test", "user": {}}],
    }
    try:
        yield yaml.safe_dump(config)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def installed(
    objects: list[Manifest], values: Manifest | None = None, *, upgrade: bool = True, chart: Path = HELM
) -> list[Manifest]:
    """What Helm installs with `values` into a cluster that has `objects`."""
    with (
        kubernetes(objects) as kubeconfig,
        Config(kubeconfig_content=kubeconfig, namespace="prod") as config,
        helm_python.Chart.load(chart) as loaded,
    ):
        loaded.validate_schema(values or {})
        texts = config.render(loaded, values or {}, name="oo", namespace="prod", is_upgrade=upgrade)
    return [
        item for name in sorted(texts) if name.endswith(".yaml") for item in yaml.safe_load_all(texts[name]) if item
    ]
