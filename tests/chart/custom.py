"""Kinds whose schemas Kubernetes itself does not have: what this chart uses of each."""

from typing import Any

import msgspec

__all__ = ["CUSTOM"]


class Reference(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    namespace: str | None = None
    apiVersion: str | None = None  # noqa: N815 - Kubernetes' name
    kind: str | None = None
    port: int | None = None


class PathMatch(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    value: str


class RouteMatch(msgspec.Struct, forbid_unknown_fields=True):
    path: PathMatch


class RouteRule(msgspec.Struct, forbid_unknown_fields=True):
    matches: list[RouteMatch]
    backendRefs: list[Reference]  # noqa: N815
    filters: list[dict[str, Any]] = []


class Route(msgspec.Struct, forbid_unknown_fields=True):
    """What this chart uses of gateway.networking.k8s.io/v1 HTTPRoute."""

    parentRefs: list[Reference]  # noqa: N815
    rules: list[RouteRule]
    hostnames: list[str] = []


class Trigger(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    metadata: dict[str, str]
    metricType: str | None = None  # noqa: N815


class Scaled(msgspec.Struct, forbid_unknown_fields=True):
    """What this chart uses of keda.sh/v1alpha1 ScaledObject."""

    scaleTargetRef: Reference  # noqa: N815
    minReplicaCount: int  # noqa: N815
    maxReplicaCount: int  # noqa: N815
    pollingInterval: int  # noqa: N815
    cooldownPeriod: int  # noqa: N815
    triggers: list[Trigger]


class Relabeling(msgspec.Struct, forbid_unknown_fields=True):
    action: str = "replace"
    sourceLabels: list[str] = []  # noqa: N815
    regex: str = "(.*)"
    targetLabel: str = ""  # noqa: N815
    replacement: str = "$1"


class Endpoint(msgspec.Struct, forbid_unknown_fields=True):
    port: str
    path: str
    interval: str
    scrapeTimeout: str = ""  # noqa: N815
    authorization: dict[str, Any] = {}
    relabelings: list[Relabeling] = []
    metricRelabelings: list[Relabeling] = []  # noqa: N815


class Namespaces(msgspec.Struct, forbid_unknown_fields=True):
    matchNames: list[str]  # noqa: N815


class Monitor(msgspec.Struct, forbid_unknown_fields=True):
    """What this chart uses of monitoring.coreos.com/v1 ServiceMonitor."""

    selector: dict[str, dict[str, str]]
    endpoints: list[Endpoint]
    namespaceSelector: Namespaces | None = None  # noqa: N815


class Rules(msgspec.Struct, forbid_unknown_fields=True):
    """What this chart uses of monitoring.coreos.com/v1 PrometheusRule."""

    groups: list[dict[str, Any]]


# Kinds whose schemas Kubernetes itself does not have.
CUSTOM: dict[str, type] = {
    "HTTPRoute": Route,
    "ScaledObject": Scaled,
    "ServiceMonitor": Monitor,
    "PrometheusRule": Rules,
}
