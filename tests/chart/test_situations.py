"""What each file of helm/ci says once it is rendered: the fields that its situation is about.

That Kubernetes takes the objects, and that pods, references and selectors fit, tests/chart/test_chart.py holds for
every file there is.
"""

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from app import __version__
from tests.chart.rendering import (
    CASES,
    HELM,
    Manifest,
    case_values,
    containers,
    environment,
    named,
    notes,
    one,
    pods,
    refusal,
    render,
)


def serving(name: str) -> tuple[Manifest, Manifest]:
    """The pod of the service (metadata and spec) and its first container."""
    pod = dict(pods(named(name)))["serving"]
    return pod, pod["spec"]["containers"][0]


def service_of(name: str) -> Manifest:
    return next(
        item for item in named(name) if item["kind"] == "Service" and not item["metadata"]["name"].endswith("-redis")
    )


def test_every_situation_is_in_the_readme() -> None:
    """The chart's README lists the files with what each is about."""
    text = (HELM / "README.md").read_text()
    for path in CASES:
        assert f"(ci/{path.name}) | {path.read_text().partition(chr(10))[0].removeprefix('# ')} |" in text


# A part of another chart


def test_an_umbrella_names_what_it_brings() -> None:
    """Templates in values are rendered with the release's name, and names such as on, 123 and null stay names."""
    manifests = named("umbrella")
    pod, container = serving("umbrella")
    env = environment(container)
    assert env["LITELLM_MASTER_KEY"]["valueFrom"]["secretKeyRef"] == {"name": "oo-litellm", "key": "yes"}
    assert env["NATS_URL"]["valueFrom"]["secretKeyRef"] == {"name": "n", "key": "123"}
    assert env["REDIS_PASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": "oo-redis-password", "key": "null"}
    assert env["RELEASE"]["value"] == "oo"
    config = one(manifests, "ConfigMap", "on")
    assert config["data"]["LITELLM_URL"] == "http://oo-litellm:4000"
    assert config["metadata"]["labels"]["app.kubernetes.io/name"] == "123"
    assert pod["spec"]["serviceAccountName"] == one(manifests, "ServiceAccount")["metadata"]["name"] == "no"
    assert pod["spec"]["priorityClassName"] == "0"
    assert pod["spec"]["volumes"][-1]["configMap"] == {"name": "on-more"}
    assert pod["metadata"]["annotations"]["example.com/template"] == "{{ left alone }}"
    claim = one(manifests, "StatefulSet")["spec"]["volumeClaimTemplates"][0]["spec"]
    assert claim["storageClassName"] == "1e3"
    assert {item["metadata"]["annotations"]["example.com/part-of"] for item in manifests} == {"oo"}
    images = {component: each["spec"]["containers"][0]["image"] for component, each in pods(manifests)}
    assert images["serving"] == images["prior"] == "mirror.example:5000/team/oo-serving:0.1.0"
    assert images["redis"].startswith("mirror.example:5000/library/redis:")


def test_as_a_dependency_it_is_the_same(tmp_path: Path) -> None:
    """A chart that has this one among its charts gets the same objects, and can hand null down."""
    shutil.copytree(HELM, tmp_path / "charts" / "oo-serving", ignore=shutil.ignore_patterns("ci", "__pycache__"))
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: umbrella\nversion: 1.0.0\n")
    for name in ("umbrella", "openshift"):
        values = case_values(HELM / "ci" / f"{name}-values.yaml")
        values.setdefault("redis", {})["auth"] = {"existingSecret": "same"}
        assert render({"oo-serving": values, "global": {"any": 1}}, tmp_path) == render(values)


# Clusters


def test_openshift_gives_the_users() -> None:
    """No pod asks for a user or group of its own, and all else is as restricted as before."""
    for component, pod in pods(named("openshift")):
        for context in (pod["spec"]["securityContext"], *(each["securityContext"] for each in containers(pod))):
            assert not {"runAsUser", "runAsGroup", "fsGroup"} & context.keys(), component
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert dict(pods(named("default")))["redis"]["spec"]["securityContext"]["fsGroup"] == 999


def test_ipv6_only() -> None:
    """The Service has an IPv6 address alone, the service listens to both families, and addresses in URLs are read."""
    spec = service_of("ipv6")["spec"]
    assert (spec["ipFamilyPolicy"], spec["ipFamilies"]) == ("SingleStack", ["IPv6"])
    data = one(named("ipv6"), "ConfigMap")["data"]
    assert (data["HOST"], data["LITELLM_URL"]) == ("::", "http://[fd00::3]:4000")
    egress = one(named("ipv6"), "NetworkPolicy", "serving")["spec"]["egress"]
    assert [[port["port"] for port in rule["ports"]] for rule in egress] == [[53, 53], [6379], [4222], [4000]]
    assert egress[1]["to"] == [{"ipBlock": {"cidr": "fd00::1/128"}}]


def test_dual_stack() -> None:
    """The Service has an address of each family, the first that was named; without a word the cluster decides."""
    spec = service_of("dual-stack")["spec"]
    assert (spec["ipFamilyPolicy"], spec["ipFamilies"]) == ("PreferDualStack", ["IPv6", "IPv4"])
    assert not {"ipFamilyPolicy", "ipFamilies"} & service_of("default")["spec"].keys()
    assert "Two service.ipFamilies need" in refusal({"service": {"ipFamilies": ["IPv4", "IPv6"]}})


def test_a_load_balancer() -> None:
    """Port, class, traffic and networks are those of the values; none of it on a Service inside the cluster."""
    spec = service_of("load-balancer")["spec"]
    (port,) = spec["ports"]
    assert (port["nodePort"], port["targetPort"]) == (30080, "http")
    assert "appProtocol" not in port, "Azure would probe /"
    wanted = case_values(HELM / "ci" / "load-balancer-values.yaml")["service"]
    for name in (
        *("type", "externalTrafficPolicy", "trafficDistribution", "loadBalancerClass"),
        "loadBalancerSourceRanges",
    ):
        assert spec[name] == wanted[name]
    assert service_of("default")["spec"].keys() == {"type", "selector", "ports"}
    for values in ({"nodePort": 30080}, {"externalTrafficPolicy": "Local"}, {"loadBalancerClass": "a"}):
        (name,) = values
        assert f"service.{name}" in refusal({"service": values})


def test_a_mesh() -> None:
    """Proxies reach their control plane, from Redis too; jobs say that they want none."""
    for name in ("serving", "redis"):
        rules = one(named("mesh"), "NetworkPolicy", f"-{name}")["spec"]
        assert rules["ingress"][-1] == {"ports": [{"port": 15020, "protocol": "TCP"}]}
        assert rules["egress"][-1]["ports"] == [{"port": 15012, "protocol": "TCP"}]
    labels = {name: pod["metadata"]["labels"].get("sidecar.istio.io/inject") for name, pod in pods(named("mesh"))}
    assert labels == {"serving": "true", "redis": "true", "prior": "false", "settle": "false", "test": None}
    assert service_of("mesh")["spec"]["ports"][0]["appProtocol"] == "http"


def test_a_node_with_our_tmp_can_go() -> None:
    """The emptyDir of /tmp does not keep the cluster autoscaler from a node; a word of the user's own wins."""
    key = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
    pod, _ = serving("default")
    assert pod["metadata"]["annotations"][key] == "tmp"
    assert {volume["name"] for volume in pod["spec"]["volumes"] if "emptyDir" in volume} == {"tmp"}
    pod = dict(pods(render({"podAnnotations": {key: "tmp,cache"}})))["serving"]
    assert pod["metadata"]["annotations"][key] == "tmp,cache"


# The environment from elsewhere


def test_secrets_by_the_environment() -> None:
    """With the URL of Redis in extraEnv or extraEnvFrom, replicas share it: nothing is refused, jobs run, and the
    network lets them through."""
    _, container = serving("external-secrets")
    assert environment(container)["REDIS_URL"]["valueFrom"]["secretKeyRef"] == {"name": "redis-url", "key": "url"}
    assert container["envFrom"][-1] == {"secretRef": {"name": "oo-serving-external"}}
    assert one(named("external-secrets"), "Deployment")["spec"]["replicas"] == 2
    only_from = case_values(HELM / "ci" / "external-secrets-values.yaml")
    del only_from["extraEnv"]
    for manifests in (named("external-secrets"), render(only_from)):
        assert {"prior", "settle"} < dict(pods(manifests)).keys()
        egress = one(manifests, "NetworkPolicy", "serving")["spec"]["egress"]
        ports = [[port["port"] for port in rule["ports"]] for rule in egress]
        assert ports == [[53, 53], [6379, 26379], [4222]], "NATS_URL may be among them"
    only_from["extraEnv"] = [{"name": "REDIS_URL", "value": "memory://"}]
    assert "2 replicas need a Redis they share" in refusal(only_from)
    assert "There is no Redis" not in notes(case_values(HELM / "ci" / "external-secrets-values.yaml"))
    keda: Manifest = {"keda": {"enabled": True, "natsMonitoringEndpoint": "n:8222"}}
    assert render(keda | {"extraEnv": [{"name": "NATS_URL", "value": "nats://n"}]})


# Routes and monitoring


def test_behind_a_prefix() -> None:
    """The Ingress compares paths as it is told, and the gateway has its filters before the service."""
    (path,) = one(named("prefix"), "Ingress")["spec"]["rules"][0]["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/bandit", "ImplementationSpecific")
    (rule,) = one(named("prefix"), "HTTPRoute")["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/bandit"}}]
    rewrite, header = rule["filters"]
    assert rewrite["urlRewrite"]["path"] == {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}
    assert header["requestHeaderModifier"] == {"set": [{"name": "X-Forwarded-Prefix", "value": "/bandit"}]}
    settings = one(named("prefix"), "ConfigMap", "serving")["data"]
    assert (settings["ROOT_PATH"], settings["TRUSTED_PROXIES"]) == ("/bandit", "10.0.0.0/8")
    _, container = serving("prefix")
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"


def test_the_old_host_name_of_personalizer() -> None:
    """The Ingress answers for it, with a certificate, on the paths of Personalizer's clients alone. Their key is in a
    Secret that exists, and their events are kept under the application's name."""
    spec = one(named("personalizer"), "Ingress")["spec"]
    (rule,) = spec["rules"]
    host = rule["host"]
    assert host.endswith(".cognitiveservices.azure.com")
    assert spec["tls"] == [{"secretName": "news-cognitiveservices", "hosts": [host]}]
    (path,) = rule["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/personalizer", "Prefix")
    service = service_of("personalizer")
    assert path["backend"]["service"] == {"name": service["metadata"]["name"], "port": {"name": "http"}}
    _, container = serving("personalizer")
    key = environment(container)["PERSONALIZER_KEY"]["valueFrom"]["secretKeyRef"]
    assert key == {"name": "personalizer", "key": "PERSONALIZER_KEY"}
    assert one(named("personalizer"), "ConfigMap", "serving")["data"]["PERSONALIZER_APP"] == "news"


def test_keda_can_be_paused() -> None:
    """Its wait and its pause are in the ScaledObject, and there is no pause unless it is asked for."""
    scaled = one(named("keda"), "ScaledObject")
    assert scaled["spec"]["cooldownPeriod"] == 600
    assert scaled["metadata"]["annotations"] == {"autoscaling.keda.sh/paused": "true"}
    values = case_values(HELM / "ci" / "keda-values.yaml")
    del values["keda"]["paused"]
    assert "annotations" not in one(render(values), "ScaledObject")["metadata"]


def test_monitoring_elsewhere() -> None:
    """A ServiceMonitor in another namespace still finds the service, in its own way; each alert links to its part of
    the runbook and to its panel by URLs."""
    monitor = one(named("monitoring"), "ServiceMonitor")
    assert monitor["metadata"]["namespace"] == "monitoring"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["prod"]}
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["interval"], endpoint["scrapeTimeout"]) == ("15s", "5s")
    wanted = case_values(HELM / "ci" / "monitoring-values.yaml")
    for name in ("authorization", "relabelings", "metricRelabelings"):
        assert endpoint[name] == wanted["serviceMonitor"][name]
    shipped = yaml.safe_load((HELM / "files" / "rules.yaml").read_text())
    rule = one(named("monitoring"), "PrometheusRule")
    assert rule["metadata"]["namespace"] == "monitoring"
    without = one(render({"prometheusRule": {"enabled": True}}), "PrometheusRule")["spec"]
    for key, path, base in (
        ("runbook", "docs/run/runbook.md#", f"{wanted['prometheusRule']['runbookUrl']}#"),
        ("dashboard", "d/oo-serving", f"{wanted['prometheusRule']['dashboardUrl']}/d/oo-serving"),
    ):
        own, given = annotated(shipped, f"{key}_url"), annotated(rule["spec"], f"{key}_url")
        assert len(own) > 5
        assert given == [str(link).replace(path, base, 1) for link in own] != own
        assert annotated(without, key) == own
        assert set(annotated(without, f"{key}_url")) == {None}, "a path is no URL"
    del wanted["serviceMonitor"]["authorization"]
    assert "A ServiceMonitor in monitoring cannot name a Secret in prod" in refusal(wanted)


def annotated(rules: Manifest, key: str) -> list[str | None]:
    found = [rule for group in rules["groups"] for rule in group["rules"]]
    return [rule["annotations"].get(key) for rule in found if "alert" in rule]


def test_a_log_in_files() -> None:
    """The claim is mounted where the service writes, in the job that makes tables of it, and in the one that judges it,
    to read; or any other volume. A volume of each pod's own cannot be judged elsewhere."""
    assert one(named("log"), "ConfigMap", "serving")["data"]["DECISION_LOG"] == "file:///var/log/oo"
    pod, container = serving("log")
    claim = {"name": "decision-log", "persistentVolumeClaim": {"claimName": "oo-log"}}
    assert claim in pod["spec"]["volumes"]
    assert {"name": "decision-log", "mountPath": "/var/log/oo"} in container["volumeMounts"]
    for name in ("prior", "settle"):
        job = dict(pods(named("log")))[name]["spec"]
        assert "decision-log" not in str(job)
    for name, room in (("judge", "2Gi"), ("compact", "256Mi")):
        job = dict(pods(named("log")))[name]["spec"]
        assert claim in job["volumes"]
        mounted = {"name": "decision-log", "mountPath": "/var/log/oo", "readOnly": name == "judge"}
        assert mounted in job["containers"][0]["volumeMounts"]
        assert {"name": "tmp", "emptyDir": {"sizeLimit": room}} in job["volumes"]
    values = case_values(HELM / "ci" / "log-values.yaml")
    values["decisionLog"] = {"volume": {"nfs": {"server": "nfs.example", "path": "/log"}}}
    found = dict(pods(render(values)))["serving"]["spec"]["volumes"]
    assert {"name": "decision-log", "nfs": {"server": "nfs.example", "path": "/log"}} in found
    values["decisionLog"] = {"mountedElsewhere": True}
    found = render(values)
    assert "decision-log" not in str([one(found, "Deployment"), *map(dict(pods(found)).get, ("judge", "compact"))])
    values["decisionLog"] = {"volume": {"ephemeral": {"volumeClaimTemplate": {}}}}
    assert not {"judge", "compact"} & dict(pods(render(values))).keys()


def test_the_image_of_tools() -> None:
    """It is named beside the other one, and only where tables are made; without them the log is judged by itself."""
    values = case_values(HELM / "ci" / "log-values.yaml")

    def images(wanted: Any) -> set[str]:
        found = dict(pods(render(values | wanted)))
        return {found[name]["spec"]["containers"][0]["image"] for name in ("judge", "compact") if name in found}

    digest = "sha256:" + "0" * 64
    assert images({"image": {"registry": "mirror", "digest": digest}}) == {f"mirror/oo-serving:{__version__}-tools"}
    assert images({"image": {"tag": "7"}}) == {"oo-serving:7-tools"}
    assert images({"image": {"tag": "7", "toolsTag": "8"}}) == {"oo-serving:8"}
    assert images({"image": {"tag": "7", "toolsDigest": digest}}) == {f"oo-serving@{digest}"}
    assert images({"compact": {"enabled": False}}) == {f"oo-serving:{__version__}"}
    judge = dict(pods(render(values | {"compact": {"enabled": False}})))["judge"]["spec"]["containers"][0]
    assert judge["command"] == ["python", "-m", "app", "judge", "/var/log/oo"]
    assert "keep either image.toolsTag or image.toolsDigest" in refusal(
        values | {"image": {"toolsTag": "8", "toolsDigest": digest}}
    )


def test_all_there_is_at_once() -> None:
    """Names and servers of DNS are in every pod of the service, and annotations on every object."""
    for name in ("serving", "prior", "settle"):
        spec = dict(pods(named("production")))[name]["spec"]
        assert spec["hostAliases"] == [{"ip": "10.0.0.7", "hostnames": ["redis.example"]}]
        assert (spec["dnsPolicy"], spec["dnsConfig"]) == (
            "ClusterFirst",
            {"options": [{"name": "ndots", "value": "2"}]},
        )
    own = [item for item in named("production") if not item["metadata"]["name"].endswith("-extra")]
    assert {item["metadata"]["annotations"]["example.com/cost-centre"] for item in own} == {"42"}
    hook = one(named("production"), "Pod")["metadata"]["annotations"]
    assert hook["helm.sh/hook"] == "test"


# Texts


def texts(schema: Manifest, definitions: Manifest, word: str) -> Any:
    """`word` for every text of the schema that may be any text."""
    schema = definitions["secret"] if "$ref" in schema else schema
    if schema.get("type") == "string" and not {"enum", "pattern"} & schema.keys() and schema.get("minLength", 0) < 2:
        return word
    found = {name: texts(child, definitions, word) for name, child in schema.get("properties", {}).items()}
    return {name: child for name, child in found.items() if child}


def everything(word: str) -> str:
    """What two releases install, as JSON, whose values have `word` wherever any text may be."""
    schema = json.loads((HELM / "values.schema.json").read_text())
    values = texts(schema, schema["definitions"], word)
    for first, *rest in (  # what goes together with nothing else
        *(("config", "HOST"), ("config", "POLICIES"), ("ca", "existingConfigMap"), ("service", "loadBalancerClass")),
        *(("redis", "extraConfig"), ("policies",), ("serviceMonitor", "namespace")),
    ):
        (values[first] if rest else values).pop(rest[0] if rest else first)
    for secret in values["secrets"].values():
        del secret["value"]
    for name in ("serviceMonitor", "prometheusRule", "dashboard", "keda", "ingress"):
        values.setdefault(name, {})["enabled"] = True
    values["config"]["DECISION_LOG"] = "file:///log"
    values["ingress"] |= {"hosts": [{"host": word}], "tls": [{"secretName": word}], "annotations": {"a": word}}
    values |= {"podAnnotations": {"a": word}, "commonLabels": {"a": word}, "nodeSelector": {"a": word}}
    own = copy.deepcopy(values)
    del own["secrets"]["REDIS_URL"]
    values["redis"]["enabled"] = False
    found = json.dumps([render(values), render(own)])
    return re.sub(r'"checksum/[a-z]+": "[0-9a-f]+"', "", found)


def test_every_text_stays_a_text_and_may_be_a_template() -> None:
    """A template for a name gives the same as the name wherever one is given, and a name that YAML takes for true stays
    a name."""
    plain = everything("qqq")
    assert plain.count('"qqq"') > 80
    assert everything('{{ print "o" "n" }}') == plain.replace("qqq", "on")
