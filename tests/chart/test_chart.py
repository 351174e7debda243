"""The Helm chart, rendered by Helm's own engine and held against Kubernetes' own schemas; no cluster is needed."""

import base64
import copy
import functools
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import msgspec
import pytest
import yaml

from app import __version__
from app.policies.catalog import catalog
from app.settings import Secret, Settings, from_environment
from app.tips.chat import TIMEOUT_SECONDS
from app.tips.generate import TRIES
from tests.chart.custom import CUSTOM
from tests.chart.rendering import (
    CASES,
    HELM,
    NEWEST,
    OLDEST,
    Manifest,
    case,
    case_values,
    containers,
    environment,
    external,
    installed,
    named,
    notes,
    one,
    pods,
    refusal,
    render,
)
from tests.support.processes import ROOT, program

each_case = pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem.removesuffix("-values"))


# One source


def test_generated_files_are_fresh() -> None:
    """README, schema and the settings in values.yaml are what the generator writes now."""
    run = subprocess.run([sys.executable, HELM / "generate.py", "--check"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_check_names_what_is_stale(tmp_path: Path) -> None:
    """A comment changed without the generator is found, and a value without a comment is refused by its name."""
    for name in ("helm", "app"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    values = tmp_path / "helm" / "values.yaml"
    command = [sys.executable, str(tmp_path / "helm" / "generate.py"), "--check"]
    subprocess.run(command[:-1], check=True)

    values.write_text(values.read_text().replace("How many pods serve.", "How many pods there are."))
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert [line.split()[0] for line in run.stderr.splitlines()] == ["helm/README.md", "helm/values.schema.json"]

    values.write_text(values.read_text() + "\nundocumented: true\n")
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1].endswith("values.yaml: undocumented has no '# -- ' comment")


def test_every_setting_can_be_set() -> None:
    """The chart has every setting of the service and no other, with the service's own default."""
    values = case_values(HELM / "values.yaml")
    defaults = Settings()
    plain, secret = {}, set()
    for name in Settings.__struct_fields__:
        default = getattr(defaults, name)
        if isinstance(default, Secret):
            secret.add(name.upper())
        else:
            plain[name.upper()] = default
    assert values["secrets"].keys() == secret
    assert values["config"] == plain | {
        "HOST": "::",
        "SHUTDOWN_SECONDS": 100,
        "NATS_DURABLE_PREFIX": "",
    }
    assert TRIES * TIMEOUT_SECONDS + defaults.llm_queue_seconds <= 100, "a stop would cut /generate off"


def test_versions_agree() -> None:
    """The chart's appVersion is the version of the service."""
    chart = case_values(HELM / "Chart.yaml")
    assert chart["appVersion"] == __version__
    assert chart["kubeVersion"] == f">={OLDEST}-0"


def mappings(schema: Manifest, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where in the values the chart's own keys are, as opposed to parts of Kubernetes objects or free labels."""
    if "$ref" in schema or "properties" in schema:
        assert schema.get("additionalProperties", False) is False, path
        yield path
    for name, child in schema.get("properties", {}).items():
        yield from mappings(child, (*path, name))


def test_unknown_values_are_refused_everywhere() -> None:
    """A misspelt key is refused by its name at every level of the values."""
    schema = json.loads((HELM / "values.schema.json").read_text())
    places = list(mappings(schema))
    assert len(places) > 30
    with helm_python.Chart.load(HELM) as chart:
        for place in places:
            values: Manifest = {"mispelt": 1}
            for name in reversed(place):
                values = {name: values}
            with pytest.raises(helm_python.HelmValuesError, match="mispelt"):
                chart.validate_schema(values)


def test_a_key_set_to_nothing_is_the_default() -> None:
    """`replicaCount:` without a value would be 0, and a list of settings empty: but for what may be null, the default
    holds. Within parts of Kubernetes objects null takes a default away, as ever in Helm."""
    schema = json.loads((HELM / "values.schema.json").read_text())
    defaults = case_values(HELM / "values.yaml")
    nullable, nothing = set(), 0
    values: Manifest = {}
    for place in mappings(schema):
        found = functools.reduce(lambda node, name: node[name], place, defaults)
        node = functools.reduce(lambda node, name: node.setdefault(name, {}), place, values)
        for key, default in found.items():
            kind = functools.reduce(lambda node, name: node.get("properties", {}).get(name, {}), (*place, key), schema)
            if default is None or "null" in kind.get("type", []) or place == ("keda", "streams"):
                nullable.add(key)
            elif not isinstance(default, dict):
                node[key] = None
                nothing += 1
    assert nullable == {
        *("terminationGracePeriodSeconds", "minAvailable", "maxUnavailable", "port", "nodePort", "user"),
        *("signals", "feedback"),
    }
    assert nothing > 160
    password = {"redis": {"auth": {"existingSecret": "same"}}}
    values["redis"]["auth"] |= password["redis"]["auth"]
    assert render(values) == render(password)
    values = {"resources": {"limits": None}, "podSecurityContext": {"runAsUser": None}, "settle": None}
    manifests = render(values)
    spec = one(manifests, "Deployment")["spec"]["template"]["spec"]
    assert "limits" not in spec["containers"][0]["resources"]
    assert "runAsUser" not in spec["securityContext"]
    assert one(manifests, "CronJob", "-settle")


# The matrix


@each_case
def test_kubernetes_takes_it(path: Path) -> None:
    """Each object is strictly valid for the oldest and newest Kubernetes, and Helm's lint has nothing to say."""
    found = helm_python.lint(HELM, case_values(path), strict=True, kube_version=NEWEST)
    assert [message for message in found["messages"] if message["severity"] > 1] == []
    assert found["errors"] == []
    for version, item in itertools.product((OLDEST, NEWEST), case(path)):
        if item["kind"] in CUSTOM:
            msgspec.convert(item["spec"], CUSTOM[item["kind"]])
        else:
            kubernetes_validate.validate(item, version, strict=True)


@each_case
def test_pods_are_restricted(path: Path) -> None:
    """Every pod, the test's and Redis's too, meets the restricted Pod Security Standard with a read-only root."""
    for _, pod in pods(case(path)):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True
        for name in ("runAsUser", "runAsGroup"):
            assert name in context or path.name == "openshift-values.yaml", "there the cluster gives it"
            assert context.get(name, 1) > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not any("hostPath" in volume for volume in spec.get("volumes", []))
        for container in containers(pod):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert own["readOnlyRootFilesystem"] is True
            assert not own.get("privileged", False)


@each_case
def test_selectors_choose_their_own_pods(path: Path) -> None:
    """What selects pods (Services, budgets, policies, workloads) finds those of its own component and no others."""
    manifests = case(path)
    labels = {component: pod["metadata"]["labels"] for component, pod in pods(manifests)}
    selectors = []
    for item in manifests:
        spec = item.get("spec", {})
        if item["kind"] == "Service":
            selectors.append((item, spec["selector"]))
        elif item["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            selectors.append((item, spec["selector"]["matchLabels"]))
        elif item["kind"] == "NetworkPolicy":
            selectors.append((item, spec["podSelector"]["matchLabels"]))
    assert selectors
    for item, selector in selectors:
        chosen = [component for component, own in labels.items() if selector.items() <= own.items()]
        assert chosen == [item["metadata"]["labels"]["app.kubernetes.io/component"]], item["metadata"]["name"]
        assert not any("version" in name or "chart" in name for name in selector), "selectors can never change"


@each_case
def test_references_hold(path: Path) -> None:
    """Objects a pod refers to are in the release or named in the values; mounts, ports and names fit each other."""
    manifests = case(path)
    made = {(item["kind"], item["metadata"]["name"]) for item in manifests}
    assert len(made) == len(manifests), "two objects have the same kind and name"
    given = re.sub("[\"']", "", path.read_text().replace("{{ .Release.Name }}", "oo"))
    given = given.replace("{{ include oo.fullname . }}", one(manifests, "Deployment")["metadata"]["name"])
    for _, pod in pods(manifests):
        account = pod["spec"].get("serviceAccountName", "default")
        assert ("ServiceAccount", account) in made or account == "default"
        wanted = [
            ("ConfigMap", name) for name in re.findall(r'"configMap(?:Ref)?": {"name": "([^"]+)"', json.dumps(pod))
        ]
        wanted += [("Secret", name) for name in re.findall(r'"secretName": "([^"]+)"', json.dumps(pod))]
        wanted += [("Secret", name) for name in re.findall(r'"secretKeyRef": {"name": "([^"]+)"', json.dumps(pod))]
        for kind, name in wanted:
            assert (kind, name) in made or f": {name}" in given, f"{kind} {name} is nowhere"
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])}
        volumes |= {"data"} if any(item["kind"] == "StatefulSet" for item in manifests) else set()
        for container in containers(pod):
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
            names = [entry["name"] for entry in container.get("env", [])]
            assert len(names) == len(set(names)), "a variable is given twice"
            ports = {port["name"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert container.get(probe, {}).get("httpGet", {}).get("port", "http") in ports | {"http"}


@each_case
def test_a_stop_has_time(path: Path) -> None:
    """The grace period holds the preStop sleep and the service's own limit, and something over."""
    manifests = case(path)
    spec = one(manifests, "Deployment")["spec"]["template"]["spec"]
    sleep = spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    settings = from_environment(one(manifests, "ConfigMap", one(manifests, "Deployment")["metadata"]["name"])["data"])
    # Closing connections took 5 s more, measured with Redis, NATS and the model all hanging.
    assert spec["terminationGracePeriodSeconds"] >= 10 + sleep + settings.drain_seconds + settings.shutdown_seconds


@each_case
def test_settings_reach_the_pod_as_the_service_reads_them(path: Path) -> None:
    """What the ConfigMap and the environment say is taken by the service's own parser: no 2.097152e+06."""
    manifests = case(path)
    deployment = one(manifests, "Deployment")
    data = one(manifests, "ConfigMap", deployment["metadata"]["name"])["data"]
    values = case_values(HELM / "values.yaml")["config"] | case_values(path).get("config", {})
    read = from_environment(data)
    values["NATS_DURABLE_PREFIX"] = values["NATS_DURABLE_PREFIX"] or "prod_oo"
    values["LITELLM_URL"] = values["LITELLM_URL"].replace("{{ .Release.Name }}", "oo")
    assert {name: getattr(read, name.lower()) for name in values} == values
    port = deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]
    assert port["containerPort"] == values["PORT"]


# What single values do


def test_default_install() -> None:
    """Without a value: two replicas, a Redis with its file on a volume and a password, and the service finds it."""
    manifests = named("default")
    deployment, redis = one(manifests, "Deployment"), one(manifests, "StatefulSet")
    assert (deployment["spec"]["replicas"], redis["spec"]["replicas"]) == (2, 1)
    assert redis["spec"]["volumeClaimTemplates"][0]["spec"]["resources"] == {"requests": {"storage": "4Gi"}}
    conf = one(manifests, "ConfigMap", "-redis")["data"]["redis.conf"].splitlines()
    assert {"appendonly yes", "hash-max-listpack-value 2048", "maxmemory-policy noeviction"} <= set(conf)
    password = base64.b64decode(one(manifests, "Secret")["data"]["password"]).decode()
    assert re.fullmatch(r"[A-Za-z0-9]{32}", password)
    env = environment(deployment["spec"]["template"]["spec"]["containers"][0])
    assert env["REDIS_URL"]["value"] == "redis://:$(REDIS_PASSWORD)@oo-serving-redis:6379/0"
    assert env["REDIS_PASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": "oo-serving-redis", "key": "password"}
    assert list(env).index("REDIS_PASSWORD") < list(env).index("REDIS_URL"), "a variable can only use earlier ones"
    assert one(manifests, "Service", "-redis")["spec"]["ports"][0]["port"] == 6379
    assert {item["kind"] for item in manifests} == {
        *("ConfigMap", "CronJob", "Deployment", "NetworkPolicy", "Pod", "PodDisruptionBudget", "Secret", "Service"),
        *("ServiceAccount", "StatefulSet"),
    }


def test_probes() -> None:
    """Liveness never depends on Redis, readiness does, and an update never goes below the wanted number."""
    spec = one(named("default"), "Deployment")["spec"]
    container = spec["template"]["spec"]["containers"][0]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/health/live", "liveness": "/health/live", "readiness": "/health/ready"}
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}


def test_secrets_stay_out_of_everything_else() -> None:
    """A secret given as a value is in the release's Secret alone; the pod refers to it."""
    manifests = named("external")
    secret = one(manifests, "Secret")
    given = {name: base64.b64decode(text).decode() for name, text in secret["data"].items()}
    assert given == {
        "LITELLM_MASTER_KEY": "sk-example",
        "NATS_URL": "nats://nats-0.example:4222,nats://nats-1.example:4222",
        "REDIS_URL": "redis://:secret@redis.example:6379/0",
    }
    rest = json.dumps([item for item in manifests if item is not secret])
    assert not [text for text in given.values() if text in rest]
    container = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    for name in given:
        assert environment(container)[name]["valueFrom"]["secretKeyRef"] == {"name": "oo-serving", "key": name}


def test_existing_secrets_and_certificates() -> None:
    """Existing Secrets are referred to by name and key, a CA and NATS credentials mounted; nothing else is made."""
    manifests = named("cluster-tls")
    assert not [item for item in manifests if item["kind"] == "Secret"]
    spec = one(manifests, "Deployment")["spec"]["template"]["spec"]
    env = environment(spec["containers"][0])
    assert env["REDIS_URL"]["valueFrom"]["secretKeyRef"] == {"name": "redis-cluster", "key": "url"}
    assert env["LITELLM_MASTER_KEY"]["valueFrom"]["secretKeyRef"] == {"name": "litellm", "key": "master-key"}
    assert env["NATS_CREDS"]["value"] == "/etc/oo-serving/nats/user.creds"
    mounts = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert mounts == {"tmp": "/tmp", "ca": "/etc/oo-serving/ca", "nats": "/etc/oo-serving/nats"}
    (ca,) = [volume for volume in spec["volumes"] if volume["name"] == "ca"]
    assert ca["secret"] == {"secretName": "redis-ca", "items": [{"key": "ca.pem", "path": "ca.pem"}]}


def test_environment_of_ones_own_takes_the_place_of_the_charts() -> None:
    """A variable that extraEnv names is there once, with its value: given twice, Helm's next upgrade could lose both.
    The password is still there for a URL that needs it."""
    values: Manifest = {
        "secrets": {"LITELLM_MASTER_KEY": {"value": "theirs"}, "METRICS_KEY": {"value": "kept"}},
        "natsCredentials": {"existingSecret": "nats"},
        "extraEnv": [
            {"name": "REDIS_URL", "value": "redis://:$(REDIS_PASSWORD)@other:6379/0"},
            {"name": "LITELLM_MASTER_KEY", "value": "own"},
            {"name": "NATS_CREDS", "value": "/own"},
        ],
    }
    env = one(render(values), "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]
    names = [entry["name"] for entry in env]
    assert names == ["REDIS_PASSWORD", "METRICS_KEY", "REDIS_URL", "LITELLM_MASTER_KEY", "NATS_CREDS"]
    assert env[2:] == values["extraEnv"]


def test_redis_runs_as_its_own_user() -> None:
    """A user for the service's container is not Redis's, to which the volume belongs; the rest holds for both."""
    values: Manifest = {"securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "procMount": "Default"}}
    contexts = {name: pod["spec"]["containers"][0]["securityContext"] for name, pod in pods(render(values))}
    assert contexts["serving"].items() >= values["securityContext"].items()
    assert not {"runAsUser", "runAsGroup"} & contexts["redis"].keys()
    assert contexts["redis"]["procMount"] == "Default"


@pytest.mark.parametrize("length", [42, 46, 47, 53])
def test_long_names_fit_labels(length: int) -> None:
    """Names of any length Helm allows are valid, with what Kubernetes adds to them in labels of 63 characters."""
    name = "a" * (length - 3) + "-bc"
    for manifests in (render({"fullnameOverride": name}), render({}, name=name)):
        stateful, service = one(manifests, "StatefulSet"), one(manifests, "Service", "redis")
        assert len(f"{stateful['metadata']['name']}-0123456789") <= 63
        assert stateful["spec"]["serviceName"] == service["metadata"]["name"]
        assert all(re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", item["metadata"]["name"]) for item in manifests)


@pytest.mark.parametrize(
    ("release", "namespace", "prefix"),
    [
        ("oo", "prod", "prod_oo"),
        ("c", "a-b", "a-b_c"),
        ("b-c", "a", "a_b-c"),
        ("my.oo", "prod", "prod_my_oo"),
    ],
)
def test_durables_are_named_after_the_release(release: str, namespace: str, prefix: str) -> None:
    """Each release has durables of its own, which KEDA watches, and the service takes the name."""
    values = case_values(HELM / "ci" / "keda-values.yaml")
    manifests = render(values, name=release, namespace=namespace)
    [data] = [item["data"] for item in manifests if item["kind"] == "ConfigMap" and "PORT" in item["data"]]
    assert data["NATS_DURABLE_PREFIX"] == from_environment(data).nats_durable_prefix == prefix
    triggers = one(manifests, "ScaledObject")["spec"]["triggers"]
    assert {trigger["metadata"].get("consumer") for trigger in triggers} >= {f"{prefix}-signals", f"{prefix}-feedback"}
    assert f"{prefix}-signals and {prefix}-feedback" in notes(values, name=release, namespace=namespace)


def test_long_names_of_durables_stay_apart() -> None:
    """A name is cut to what the service takes, and two that differ at the end alone stay two."""
    found = set()
    for release in ("a" * 52 + "b", "a" * 52 + "c"):
        data = one(render(name=release, namespace="n" * 63), "ConfigMap", release)["data"]
        found.add(from_environment(data).nats_durable_prefix)
    assert len(found) == 2
    assert all(len(prefix) == 64 for prefix in found)


def test_a_given_prefix_is_kept() -> None:
    """The name that a release had before is one value away, and the notes of an upgrade lead to it."""
    values: Manifest = {"config": {"NATS_DURABLE_PREFIX": "oo-serving"}, "secrets": {"NATS_URL": {"value": "nats://n"}}}
    assert one(render(values), "ConfigMap", "serving")["data"]["NATS_DURABLE_PREFIX"] == "oo-serving"
    assert '"Upgrading" in helm/README.md' not in notes(values, is_upgrade=True)
    del values["config"]
    assert '"Upgrading" in helm/README.md' in notes(values, is_upgrade=True)
    assert '"Upgrading" in helm/README.md' not in notes(values)
    assert "## Upgrading" in (HELM / "README.md").read_text()


@pytest.mark.parametrize(
    ("redis", "wait", "warned"),
    [
        ({"value": "redis+sentinel://a/m"}, 0, "WARNING: config.REDIS_WAIT_REPLICAS is 0."),
        ({"value": "rediss+cluster://a"}, 0, "WARNING: config.REDIS_WAIT_REPLICAS is 0."),
        ({"existingSecret": "s"}, 0, "WARNING: config.REDIS_WAIT_REPLICAS is 0."),
        ({"existingSecret": "s"}, "auto", "If REDIS_URL is redis:// or rediss://"),
        ({"value": "redis://a"}, "auto", "If REDIS_URL is redis:// or rediss://"),
        ({"value": "redis://a"}, 0, "If REDIS_URL is redis:// or rediss://"),
        ({"value": "redis://a"}, 1, ""),
        ({"value": "redis+sentinel://a/m"}, "auto", ""),
        ({"value": "redis+sentinel://a/m"}, 1, ""),
        ({"existingSecret": "s"}, 1, ""),
    ],
)
def test_notes_warn_of_a_failover_that_loses(redis: Manifest, wait: int | str, warned: str) -> None:
    """Where a failover may lose what was acknowledged the notes say so, and only there."""
    values: Manifest = {
        "redis": {"enabled": False},
        "secrets": {"REDIS_URL": redis},
        "config": {"REDIS_WAIT_REPLICAS": wait},
        "networkPolicy": {"redis": {"ports": [6379, 26379]}},
    }
    text = notes(values)
    assert ("failover loses" in text.replace("\n", " ")) == bool(warned)
    assert warned in text


def test_notes_say_what_the_test_needs() -> None:
    """After an install `helm test` is recommended only where it can pass; otherwise the notes say what it needs."""
    keys: Manifest = {"secrets": {"API_KEYS": {"value": "lines"}}}
    assert "helm test oo --namespace" in notes({})
    assert "set tests.existingSecret" in notes(keys)
    assert "helm test oo --namespace" not in notes(keys)
    assert "helm test oo --namespace" in notes(keys | {"tests": {"existingSecret": "test-keys"}})


def test_redis_is_not_the_first_to_go() -> None:
    """Redis requests all the memory it may use: a node short of it evicts first what uses more than it requested."""
    resources = one(named("default"), "StatefulSet")["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]


def test_digest_pins_the_image() -> None:
    """A digest takes the place of the tag, for the service, its test and Redis."""
    images = {component: pod["spec"]["containers"][0]["image"] for component, pod in pods(named("production"))}
    assert images["serving"] == images["test"] == "registry.example/oo-serving@sha256:" + 64 * "0"
    assert images["redis"] == "docker.io/library/redis@sha256:" + 64 * "1"
    version = case_values(HELM / "Chart.yaml")["appVersion"]
    assert dict(pods(named("default")))["serving"]["spec"]["containers"][0]["image"] == f"oo-serving:{version}"


def template_of(values: Manifest, kind: str = "Deployment") -> Manifest:
    values = {"redis": {"auth": {"password": "same"}}} | values
    pod: Manifest = one(render(values), kind)["spec"]["template"]
    return pod


def test_changed_configuration_rolls_pods() -> None:
    """Another setting, secret or Redis password makes other pods; another number of replicas does not."""
    before = template_of({})
    assert template_of({}) == before == template_of({"replicaCount": 5})
    for values in (
        {"config": {"ALPHA": 2}},
        {"secrets": {"NATS_URL": {"value": "nats://other"}}},
        {"redis": {"auth": {"password": "other"}}},
    ):
        assert template_of(values)["metadata"]["annotations"] != before["metadata"]["annotations"]
    redis = template_of({}, "StatefulSet")
    assert template_of({"config": {"ALPHA": 2}}, "StatefulSet") == redis
    slower = {"redis": {"auth": {"password": "same"}, "appendfsync": "always"}}
    assert template_of(slower, "StatefulSet")["metadata"]["annotations"] != redis["metadata"]["annotations"]


def test_autoscalers_own_the_number_of_replicas() -> None:
    """With an autoscaler the Deployment names no number of the chart's own, or each upgrade would put it back."""
    for name, kind in (("hpa", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")):
        assert "replicas" not in one(named(name), "Deployment")["spec"], "there is no cluster to ask here"
        target = one(named(name), kind)["spec"]["scaleTargetRef"]
        assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "oo-serving"}
    consumers = [
        trigger["metadata"].get("consumer") for trigger in one(named("keda"), "ScaledObject")["spec"]["triggers"]
    ]
    assert consumers == ["prod_oo-feedback", "prod_oo-signals", None]


def flows(policy: Manifest, direction: str) -> list[list[Any]]:
    """The ports of each rule, each once."""
    return [list(dict.fromkeys(port["port"] for port in rule["ports"])) for rule in policy["spec"][direction]]


@pytest.mark.parametrize(
    ("name", "egress"),
    [
        ("default", [[53], [6379]]),
        ("external", [[53], [6379], [4222], [4000]]),
        ("sentinel", [[53], [6379, 26379]]),
        ("cluster-tls", [[53], [6379], [4222], [443]]),
        ("keda", [[53], [6379], [4222]]),
    ],
)
def test_network_policy_has_the_flows_there_are(name: str, egress: list[list[int]]) -> None:
    """Requests in; DNS and only the servers in use out. The release's Redis is open to its pods only."""
    policy = one(named(name), "NetworkPolicy", "serving")
    assert flows(policy, "ingress") == [["http"]]
    assert flows(policy, "egress") == egress
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    if name == "default":
        redis = one(named(name), "NetworkPolicy", "redis")["spec"]
        (rule,) = redis["ingress"]
        peers = [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in rule["from"]]
        assert peers == ["serving", "prior", "settle"]
        assert (redis["egress"], redis["policyTypes"]) == ([], ["Ingress", "Egress"])


def test_restricted_callers_include_the_test() -> None:
    """Where only some may call, `helm test` still may."""
    (rule,) = one(named("external"), "NetworkPolicy", "serving")["spec"]["ingress"]
    components = [
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for peer in rule["from"]
        if "podSelector" in peer
    ]
    assert components == ["test"]


def test_additions_are_carried() -> None:
    """Labels, annotations, environment, volumes, containers and objects of the user's own are where they belong."""
    manifests = named("production")
    own = [item for item in manifests if not item["metadata"]["name"].endswith("-extra")]
    assert all(item["metadata"]["labels"]["team"] == "ranking" for item in own)
    assert one(manifests, "ConfigMap", "ranking-extra")["data"] == {"release": "oo"}
    assert one(manifests, "ConfigMap", "text-extra")
    deployment = one(manifests, "Deployment", "ranking")
    pod = deployment["spec"]["template"]
    assert deployment["metadata"]["annotations"] == {"example.com/owner": "ranking", "example.com/cost-centre": "42"}
    assert pod["metadata"]["labels"]["tier"] == "api"
    assert [container["name"] for container in containers(pod)] == ["first", "serving", "beside"]
    assert {volume["name"] for volume in pod["spec"]["volumes"]} == {"tmp", "ca", "policies", "cache"}
    (constraint,) = pod["spec"]["topologySpreadConstraints"]
    assert constraint["labelSelector"] == {"matchLabels": {"app.kubernetes.io/name": "oo-serving"}}


def test_spread_constraints_find_the_pods() -> None:
    """A constraint without a selector counts the service's own pods of the same revision."""
    pod = one(named("default"), "Deployment")["spec"]["template"]
    assert len(pod["spec"]["topologySpreadConstraints"]) == 2
    for constraint in pod["spec"]["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        assert constraint["matchLabelKeys"] == ["pod-template-hash"]


# Jobs

JOBS = {
    "prior": ["python", "-m", "app", "prior"],
    "settle": ["python", "-m", "app", "settle", "--once"],
    "judge": ["python", "-m", "app", "judge", "/var/log/oo", "--sums"],
    "compact": ["python", "-m", "app", "log", "compact", "/var/log/oo"],
}
ON_THE_LOG = {"judge", "compact"}


def without_log(value: Any) -> Any:
    """A list without what has the log of decisions, to which only the service writes, and without the size of /tmp."""
    if not isinstance(value, list):
        return value
    return [one | ({"emptyDir": {}} if "emptyDir" in one else {}) for one in value if one.get("name") != "decision-log"]


@each_case
@pytest.mark.parametrize("name", JOBS)
def test_jobs_run_like_the_service(path: Path, name: str) -> None:
    """By the same image, or its target `tools`, with the same environment, files and rights, and with what they need of
    the network."""
    manifests = case(path)
    if "CronJob" not in {item["kind"] for item in manifests}:
        assert path.name == "single-values.yaml", "only state in memory is out of reach"
        return
    found = dict(pods(manifests))
    assert ON_THE_LOG & found.keys() == (ON_THE_LOG if path.name == "log-values.yaml" else set())
    if name not in found:
        return
    job, serving = found[name]["spec"], found["serving"]["spec"]
    own, other = job["containers"][0], serving["containers"][0]
    assert own["command"] == JOBS[name]
    assert own["image"] == other["image"] + "-tools" * (name in ON_THE_LOG)
    for key in ("envFrom", "env", "volumeMounts", "securityContext"):
        assert without_log(own.get(key)) == without_log(other.get(key)), key
    for key in (
        *("volumes", "serviceAccountName", "initContainers", "nodeSelector", "tolerations", "imagePullSecrets"),
        *("hostAliases", "dnsPolicy", "dnsConfig", "securityContext"),
    ):
        assert without_log(job.get(key)) == without_log(serving.get(key)), key
    assert job["restartPolicy"] == "Never"
    policy = one(manifests, "NetworkPolicy", f"-{name}")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= found[name]["metadata"]["labels"].items()
    allowed = one(manifests, "NetworkPolicy", one(manifests, "Deployment")["metadata"]["name"])["spec"]["egress"]
    assert policy["ingress"] == []
    assert policy["egress"][:2] == allowed[:2]
    assert all(rule in allowed for rule in policy["egress"])


def test_when_jobs_run() -> None:
    """Priors every night and what is due every hour, one run at a time, or as the values say; or never, and then
    nothing of the job is left."""
    schedules = {"prior": "17 3 * * *", "settle": "37 * * * *", "judge": "7 * * * *", "compact": "47 * * * *"}
    for name, schedule in schedules.items():
        spec = one(named("log"), "CronJob", f"-{name}")["spec"]
        assert (spec["schedule"], spec["concurrencyPolicy"]) == (schedule, "Forbid")
        log = case_values(HELM / "ci" / "log-values.yaml")
        without = render(log | {name: {"enabled": False}})
        assert not {found for found, _ in pods(without)} & {name}
        assert not re.search(rf'-{name}"|": "{name}"', json.dumps(without))
        assert f"'/{name}/schedule'" in refusal({name: {"schedule": "daily"}})
        long = render(log | {"fullnameOverride": "a" * 53})
        assert len(one(long, "CronJob", f"-{name}")["metadata"]["name"]) <= 52
    assert one(named("production"), "CronJob", "-prior")["spec"]["schedule"] == "0 4 * * 0"


# Refusals

TWO_LIMITS = {"podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": 1}}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"replicaCount": "two"}, "at '/replicaCount': got string, want integer"),
        ({"config": {"EPSILON": 2}}, "at '/config/EPSILON': maximum: got 2, want 1"),
        ({"image": {"digest": "sha256:short"}}, "at '/image/digest': 'sha256:short' does not match pattern"),
        (
            {"redis": {"enabled": False}},
            (
                "2 replicas need a Redis they share: set redis.enabled=true, or secrets.REDIS_URL to an external one, "
                "or a single replica."
            ),
        ),
        (
            {"redis": {"enabled": False}, "secrets": {"REDIS_URL": {"value": "memory://"}}},
            "2 replicas need a Redis they share",
        ),
        (
            {"redis": {"enabled": False}, "replicaCount": 1, "autoscaling": {"enabled": True}},
            "10 replicas need a Redis they share",
        ),
        (
            {"redis": {"enabled": False}, "replicaCount": 1, "config": {"WORKERS": 4}},
            "config.WORKERS=4 processes need a Redis they share: set redis.enabled=true or secrets.REDIS_URL.",
        ),
        (
            {"config": {"HOST": "127.0.0.1"}},
            'config.HOST="127.0.0.1" would listen inside the pod only, where neither probes nor requests arrive',
        ),
        ({"config": {"HOST": ""}}, 'config.HOST="" would listen inside the pod only'),
        ({"config": {"LITELLM_URL": "litellm:4000"}}, "at '/config/LITELLM_URL': 'litellm:4000' does not match"),
        (
            {"config": {"REDIS_WAIT_REPLICAS": 1}},
            (
                "config.REDIS_WAIT_REPLICAS=1 would have every write answered 503, for the state here has no replica: "
                "leave it at 0, or use an external Redis."
            ),
        ),
        (
            {"redis": {"enabled": False}, "replicaCount": 1, "config": {"REDIS_WAIT_REPLICAS": 2}},
            "config.REDIS_WAIT_REPLICAS=2 would have every write answered 503",
        ),
        (external("http://redis:6379"), "secrets.REDIS_URL takes redis://, rediss://, unix://, redis+sentinel://"),
        (external("redis.example:6379"), "secrets.REDIS_URL takes redis://"),
        (external("unix+cluster:///tmp/redis.sock"), "secrets.REDIS_URL takes redis://"),
        (
            external("rediss://user:pass:1@[fd00::1]:6380/0?ssl_ca_certs=/etc/oo-serving/ca/ca.crt"),
            (
                "secrets.REDIS_URL names port 6380, which the NetworkPolicy would block: add it to "
                "networkPolicy.redis.ports."
            ),
        ),
        (external("redis+sentinel://:p@a,b:6379/mymaster/0"), "secrets.REDIS_URL names port 26379"),
        (external("redis+cluster://a:6379,b:7001"), "secrets.REDIS_URL names port 7001"),
        (external("redis://a", networkPolicy={"redis": {"ports": [6380]}}), "secrets.REDIS_URL names port 6379"),
        (
            {"secrets": {"NATS_URL": {"value": "nats://a:4222, tls://user:pass@b:443"}}},
            (
                "secrets.NATS_URL names port 443, which the NetworkPolicy would block: add it to "
                "networkPolicy.nats.ports."
            ),
        ),
        (
            {"image": {"tag": "0.2.0", "digest": "sha256:" + 64 * "0"}},
            "The image is given twice: keep either image.tag or image.digest.",
        ),
        (
            {"redis": {"maxmemory": "1gb"}},
            (
                "redis.maxmemory=1gb does not fit into redis.resources.limits.memory=1Gi: Redis would be killed before "
                "it refuses a write; leave half of the limit free."
            ),
        ),
        (
            {"redis": {"maxmemory": "600mb", "resources": {"limits": {"memory": "600M"}}}},
            "redis.maxmemory=600mb does not fit",
        ),
        (
            {"redis": {"resources": {"limits": {"memory": 536870912}}}},
            "redis.maxmemory=512mb does not fit into redis.resources.limits.memory=536870912",
        ),
        (
            {"redis": {"auth": {"existingSecret": "oo-serving-redis"}}},
            "redis.auth.existingSecret=oo-serving-redis is the chart's own Secret, which would be deleted",
        ),
        (
            {"extraEnv": [{"name": "REDIS_PASSWORD", "value": "p"}]},
            "extraEnv sets REDIS_PASSWORD, which is how the password of this Redis gets into REDIS_URL",
        ),
        ({"fullnameOverride": "My_Name"}, "at '/fullnameOverride': 'My_Name' does not match pattern"),
        ({"fullnameOverride": "1st"}, "at '/fullnameOverride': '1st' does not match pattern"),
        ({"nameOverride": "ends-"}, "at '/nameOverride': 'ends-' does not match pattern"),
        ({"podDisruptionBudget": {"minAvailable": "some"}}, "'/podDisruptionBudget/minAvailable': 'some' does not"),
        ({"podDisruptionBudget": {"minAvailable": -1}}, "at '/podDisruptionBudget/minAvailable': minimum: got -1"),
        ({"podDisruptionBudget": {"maxUnavailable": "00%"}}, "'/podDisruptionBudget/maxUnavailable': '00%' does not"),
        ({"podDisruptionBudget": {"maxUnavailable": -1}}, "at '/podDisruptionBudget/maxUnavailable': minimum: got -1"),
        ({"strategy": {"maxSurge": -1}}, "at '/strategy/maxSurge': minimum: got -1, want 0"),
        ({"strategy": {"maxSurge": "1"}}, "at '/strategy/maxSurge': '1' does not match pattern"),
        ({"strategy": {"maxUnavailable": "-1%"}}, "at '/strategy/maxUnavailable': '-1%' does not match pattern"),
        (
            {"secrets": {"REDIS_URL": {"value": "redis://elsewhere"}}},
            "There are two Redis: set redis.enabled=false to use the one of secrets.REDIS_URL, or leave that empty.",
        ),
        (
            {"secrets": {"NATS_URL": {"value": "nats://a", "existingSecret": "b"}}},
            "secrets.NATS_URL is given twice: keep either value or existingSecret.",
        ),
        (
            {"redis": {"auth": {"password": "a", "existingSecret": "b"}}},
            "The Redis password is given twice: keep either redis.auth.password or redis.auth.existingSecret.",
        ),
        (
            {"ca": {"existingSecret": "a", "existingConfigMap": "b"}},
            "The certificate authority is given twice: keep either ca.existingSecret or ca.existingConfigMap.",
        ),
        (
            {"autoscaling": {"enabled": True}, "keda": {"enabled": True}},
            "autoscaling and keda would fight over the number of replicas: enable one of them.",
        ),
        (
            {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 3}},
            "autoscaling.minReplicas=5 is more than autoscaling.maxReplicas=3.",
        ),
        (
            {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}},
            "autoscaling on CPU measures against what pods request: set resources.requests.cpu.",
        ),
        (
            {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": 0}},
            "autoscaling has nothing to go by",
        ),
        (
            {"keda": {"enabled": True, "natsMonitoringEndpoint": "nats:8222"}},
            "keda scales on the lag of NATS consumers, and there is no NATS: set secrets.NATS_URL.",
        ),
        (
            {"keda": {"enabled": True}, "secrets": {"NATS_URL": {"value": "nats://a"}}},
            "keda reads the lag from NATS' monitoring endpoint: set keda.natsMonitoringEndpoint to its host:port.",
        ),
        (
            {
                "keda": {
                    "enabled": True,
                    "natsMonitoringEndpoint": "n:8222",
                    "streams": {"signals": None, "feedback": None},
                },
                "secrets": {"NATS_URL": {"existingSecret": "nats"}},
            },
            "keda has nothing to go by: set keda.streams or keda.triggers.",
        ),
        ({"keda": {"streams": {"signals": ""}}}, "at '/keda/streams/signals': minLength: got 0, want 1"),
        (
            {"podDisruptionBudget": {"maxUnavailable": 0}},
            (
                "podDisruptionBudget.maxUnavailable=0 would block every eviction, and with it every drain of a node: "
                "allow at least 1."
            ),
        ),
        ({"podDisruptionBudget": {"maxUnavailable": "0%"}}, "podDisruptionBudget.maxUnavailable=0% would block"),
        (
            {"podDisruptionBudget": {"minAvailable": 2}},
            (
                "podDisruptionBudget.minAvailable=2 keeps all of 2 replicas, which would block every eviction, and "
                "with it every drain of a node: allow at least one to go."
            ),
        ),
        ({"podDisruptionBudget": {"minAvailable": "51%"}}, "podDisruptionBudget.minAvailable=51% keeps all of 2"),
        (
            {"podDisruptionBudget": {"minAvailable": 3}, "autoscaling": {"enabled": True, "minReplicas": 3}},
            "podDisruptionBudget.minAvailable=3 keeps all of 3 replicas",
        ),
        (TWO_LIMITS, "A PodDisruptionBudget takes one limit"),
        (
            {"terminationGracePeriodSeconds": 10},
            (
                "terminationGracePeriodSeconds=10 would kill pods in the middle of a stop: preStopSleepSeconds, "
                "config.DRAIN_SECONDS and config.SHUTDOWN_SECONDS need 107."
            ),
        ),
        (
            {"strategy": {"maxSurge": 0}},
            "strategy.maxSurge and strategy.maxUnavailable are both 0, so no update could ever proceed",
        ),
        (
            {"config": {"DECISION_LOG": "file:///log"}},
            "config.DECISION_LOG=file:///log names a directory on which no volume is mounted: set decisionLog.",
        ),
        (
            {"decisionLog": {"existingClaim": "a"}},
            'decisionLog has a volume, and config.DECISION_LOG="" names no directory to mount it on',
        ),
        (
            {"config": {"DECISION_LOG": "file:///log"}, "decisionLog": {"existingClaim": "a", "volume": {"nfs": {}}}},
            "The volume of the log is given twice: keep either decisionLog.existingClaim or decisionLog.volume.",
        ),
        (
            {
                "config": {"DECISION_LOG": "file:///log"},
                "decisionLog": {"existingClaim": "a", "mountedElsewhere": True},
            },
            "decisionLog has a volume, and mountedElsewhere says that another is there: keep one of them.",
        ),
        ({"config": {"DECISION_LOG": "nats"}}, "config.DECISION_LOG=nats needs NATS: set secrets.NATS_URL."),
        ({"ingress": {"enabled": True}}, "ingress.enabled without a host publishes nothing: set ingress.hosts."),
        (
            {"httpRoute": {"enabled": True}},
            "httpRoute.enabled without a gateway publishes nothing: set httpRoute.parentRefs.",
        ),
    ],
)
def test_nonsense_is_refused_with_a_sentence(values: Manifest, sentence: str) -> None:
    """Values that cannot work stop the install with a sentence that names them."""
    assert sentence in refusal(values)


@pytest.mark.parametrize(
    "values",
    [
        {"podDisruptionBudget": {"minAvailable": 1}},
        {"podDisruptionBudget": {"minAvailable": "50%"}},
        {"replicaCount": 1},
        {"replicaCount": 0},
        {"redis": {"enabled": False}, "replicaCount": 1},
        {"redis": {"enabled": False}, "secrets": {"REDIS_URL": {"existingSecret": "redis"}}},
        {"podDisruptionBudget": {"enabled": False, "maxUnavailable": 0}},
        {"podDisruptionBudget": {"minAvailable": "1"}},
        {"strategy": {"maxSurge": "25%"}},
        {"nameOverride": "1st-name"},
        external("redis://:a,b@redis.example"),
        external("rediss://user:pass:1@[fd00::1]:6379/0?ssl_ca_certs=/a,b:1"),
        external("rediss+sentinel://a,b:26380/m/0", networkPolicy={"redis": {"ports": [6379, 26379, 26380]}}),
        external("redis+cluster://a:7001", networkPolicy={"enabled": False}),
        external("unix:///var/run/redis.sock"),
        external("memory://", replicaCount=1),
        external("redis://a", config={"REDIS_WAIT_REPLICAS": 1}),
        {"secrets": {"NATS_URL": {"value": "nats://user:pass@a,nats://b:4222,c"}}},
        {"redis": {"maxmemory": "1gb", "resources": {"limits": {"memory": "1.5Gi"}}}},
        {"redis": {"maxmemory": "1gb", "resources": {"limits": None}}},
        {"redis": {"enabled": False, "maxmemory": "2gb"}, "replicaCount": 1},
        {"redis": {"auth": {"existingSecret": "another"}}},
        {"config": {"DECISION_LOG": "nats"}, "secrets": {"NATS_URL": {"existingSecret": "nats"}}},
        {"config": {"DECISION_LOG": "file:///log"}, "decisionLog": {"mountedElsewhere": True}},
    ],
)
def test_near_misses_are_allowed(values: Manifest) -> None:
    """What merely looks like nonsense installs."""
    assert render(values)


def test_all_problems_are_told_at_once() -> None:
    """Two mistakes make two sentences, not two attempts."""
    text = refusal({"redis": {"enabled": False}, **TWO_LIMITS})
    assert "replicas need a Redis" in text
    assert "takes one limit" in text


# What is kept across upgrades


def test_password_is_kept_across_upgrades() -> None:
    """The first install makes a password. An upgrade finds it in the cluster, keeps it, and so restarts no pod;
    another cluster has another."""
    first = installed([], upgrade=False)
    assert installed([copy.deepcopy(one(first, "Secret"))]) == first
    assert one(installed([], upgrade=False), "Secret")["data"] != one(first, "Secret")["data"]


@pytest.mark.parametrize(
    "values",
    [
        {"autoscaling": {"enabled": True, "minReplicas": 3}},
        {
            "keda": {"enabled": True, "minReplicas": 3, "natsMonitoringEndpoint": "nats:8222"},
            "secrets": {"NATS_URL": {"existingSecret": "nats"}},
        },
    ],
    ids=["hpa", "keda"],
)
def test_number_of_replicas_is_kept_across_upgrades(values: Manifest) -> None:
    """Turning an autoscaler on, and every upgrade after that, keeps the pods there are: without a number Kubernetes
    would go down to 1. A first install, or one that was scaled to 0, starts with the minimum."""

    def deployment(name: str, replicas: int) -> Manifest:
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": "prod"},
            "spec": {"replicas": replicas},
        }

    others = [deployment("oo-serving-other", 20), deployment("another", 30)]
    for live, wanted in ((7, 7), (1, 1), (0, 3)):
        found = installed([*others, deployment("oo-serving", live)], values)
        assert one(found, "Deployment")["spec"]["replicas"] == wanted
    assert one(installed(others, values), "Deployment")["spec"]["replicas"] == 3
    assert one(installed([deployment("oo-serving", 7)]), "Deployment")["spec"]["replicas"] == 2


# Monitoring


RULES = """\
groups:
  - name: oo
    rules:
      - alert: Away
        expr: up{job="oo-serving"} == 0
        annotations: {summary: "{{ $labels.instance }} is away"}
"""


def with_files(directory: Path, files: dict[str, str]) -> Path:
    """A copy of the chart that has these monitoring files and no others."""
    ignore = shutil.ignore_patterns("rules.yaml", "dashboard.json", "__pycache__")
    chart = directory / "chart"
    shutil.copytree(HELM, chart, ignore=ignore)
    for name, text in files.items():
        (chart / "files" / name).write_text(text)
    return chart


MONITORED = {"prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}, "serviceMonitor": {"enabled": True}}


def promtool(rules: Manifest, directory: Path) -> None:
    path = directory / "rules.yaml"
    path.write_text(yaml.safe_dump(rules))
    run = subprocess.run([program("promtool"), "check", "rules", path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_rules_and_dashboard_are_carried_unchanged(tmp_path: Path) -> None:
    """Rules and dashboard are installed as they stand in files/: templates of Prometheus and Grafana are theirs."""
    board = json.dumps({"title": "oo", "panels": [{"legendFormat": "{{route}}"}]}, indent=1)
    manifests = render(MONITORED, with_files(tmp_path, {"rules.yaml": RULES, "dashboard.json": board}))
    rules = one(manifests, "PrometheusRule")["spec"]
    assert rules == yaml.safe_load(RULES)
    promtool(rules, tmp_path)
    config = one(manifests, "ConfigMap", "-dashboard")
    assert json.loads(config["data"]["oo-serving.json"]) == json.loads(board)
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    monitor = one(manifests, "ServiceMonitor")["spec"]
    service = one(manifests, "Service", "serving")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    redis = one(manifests, "Service", "redis")["metadata"]["labels"]
    assert not monitor["selector"]["matchLabels"].items() <= redis.items()
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_prometheus_brings_the_key_of_the_metrics() -> None:
    """Where metrics want a key, the ServiceMonitor says in which Secret it is; a user's own way wins."""
    for secret, where in (
        ({"value": "k"}, {"name": "oo-serving", "key": "METRICS_KEY"}),
        ({"existingSecret": "metrics", "key": "k"}, {"name": "metrics", "key": "k"}),
    ):
        values = {"serviceMonitor": {"enabled": True}, "secrets": {"METRICS_KEY": secret}}
        (endpoint,) = one(render(values), "ServiceMonitor")["spec"]["endpoints"]
        assert endpoint["authorization"] == {"credentials": where}
    (endpoint,) = one(named("production"), "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["authorization"] == {"credentials": {"name": "metrics", "key": "key"}}


def test_missing_rules_are_said(tmp_path: Path) -> None:
    """A chart without these files refuses to install them, instead of installing nothing."""
    text = refusal(MONITORED, with_files(tmp_path, {}))
    assert "prometheusRule.enabled, but this chart has no files/rules.yaml." in text
    assert "dashboard.enabled, but this chart has no files/dashboard.json." in text


def test_own_rules_and_dashboard_are_valid(tmp_path: Path) -> None:
    """Those monitoring files that the chart has are valid once rendered."""
    if list(HELM.glob("files/rules.yaml")):
        promtool(one(render({"prometheusRule": {"enabled": True}}), "PrometheusRule")["spec"], tmp_path)
    if list(HELM.glob("files/dashboard.json")):
        board = one(render({"dashboard": {"enabled": True}}), "ConfigMap", "-dashboard")
        assert json.loads(board["data"]["oo-serving.json"])["title"]


# Packaging and documentation


def test_package_holds_what_is_needed(tmp_path: Path) -> None:
    """The packaged chart renders like the folder and leaves the generator and the test values out."""
    archive = helm_python.package(HELM, destination=tmp_path)
    values = {"redis": {"auth": {"password": "same"}}}
    assert render(values, Path(archive)) == render(values)
    with helm_python.Chart.load(archive) as chart:
        names = {item["name"] for item in chart.files}
    assert "files/smoke.py" in names
    assert not [name for name in names if name.startswith("ci/")]
    assert not {"generate.py", "from_settings.py"} & names


def test_commands_in_the_documentation_use_values_there_are() -> None:
    """Every `--set` in the documentation names a value of the chart."""
    schema = json.loads((HELM / "values.schema.json").read_text())
    used = set()
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), HELM / "README.md"]:
        used |= {(path.name, name) for name in re.findall(r"--set(?:-string|-file)? ([A-Za-z_.]+)=", path.read_text())}
    assert any(name == "kubernetes.md" for name, _ in used)
    for place, name in sorted(used):
        node = schema
        for word in name.split("."):
            node = schema["definitions"]["secret"] if "$ref" in node else node
            if "properties" not in node and "additionalProperties" in node:
                break  # a label or the like, called as the user likes
            assert word in node.get("properties", {}), f"{place}: {name} is no value of the chart"
            node = node["properties"][word]


def test_ports_in_the_documentation_fit_the_urls() -> None:
    """The ports that a command in the documentation lets through are those of the URL shown before it."""
    first, *rest = (ROOT / "docs" / "run" / "kubernetes.md").read_text().split(" networkPolicy.redis.ports='{")
    assert len(rest) == 2
    for before, after in itertools.pairwise([first, *rest]):
        url = re.findall(r"(rediss?(?:\+cluster)?://\S+:\d+[^\s'`]*)", before)[-1]
        ports = [int(port) for port in after.partition("}'")[0].split(",")]
        assert render(external(url, networkPolicy={"redis": {"ports": ports}}))
        assert "would block" in refusal(external(url, networkPolicy={"redis": {"ports": [1]}}))


def test_yaml_in_the_documentation_is_valid() -> None:
    """Values shown in the documentation install; objects shown there are valid and restricted."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "run" / "kubernetes.md").read_text(), flags=re.DOTALL)
    assert len(blocks) > 3
    for block in blocks:
        shown = yaml.safe_load(block)
        if "kind" not in shown:
            assert render(shown)
            continue
        for version in (OLDEST, NEWEST):
            kubernetes_validate.validate(shown, version, strict=True)
        assert shown["spec"]["securityContext"]["runAsNonRoot"] is True
        assert shown["spec"]["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_sentences_in_the_documentation_are_those_shown() -> None:
    """The refusal that the documentation shows is the one a user gets."""
    (shown,) = re.findall(
        r"```text\n(.*?)\n```", (ROOT / "docs" / "run" / "kubernetes.md").read_text(), flags=re.DOTALL
    )
    assert shown in refusal({"redis": {"enabled": False}})


# Policies


def test_a_policy_file_is_mounted() -> None:
    """Its text, character for character, at the path that POLICIES names; the service reads it. Another one makes other
    pods, and without one there is nothing of it."""
    text = case_values(HELM / "ci" / "production-values.yaml")["policies"]
    found = named("production")
    assert one(found, "ConfigMap", "-policies")["data"] == {"policies.toml": text}
    assert "tasks" in catalog(text).loops
    [(_, pod)] = [(name, pod) for name, pod in pods(found) if name == "serving"]
    [container] = [each for each in pod["spec"]["containers"] if each["name"] == "serving"]
    path = Path(environment(container)["POLICIES"]["value"])
    assert path.name == "policies.toml"
    [mount] = [each for each in container["volumeMounts"] if each["mountPath"] == str(path.parent)]
    [volume] = [each for each in pod["spec"]["volumes"] if each["name"] == mount["name"]]
    assert volume["configMap"]["name"] == one(found, "ConfigMap", "-policies")["metadata"]["name"]

    def checksum(**values: str) -> str:
        [annotations] = [pod["metadata"]["annotations"] for name, pod in pods(render(values)) if name == "serving"]
        return str(annotations["checksum/config"])

    assert len({checksum(), checksum(policies="a = 1"), checksum(policies="a = 2")}) == 3
    assert "policies.toml" not in json.dumps(render())
    own = [{"name": "POLICIES", "value": "/own"}]
    [(_, pod)] = [each for each in pods(render({"policies": text, "extraEnv": own})) if each[0] == "serving"]
    assert [each for each in pod["spec"]["containers"][0]["env"] if each["name"] == "POLICIES"] == own


def test_two_policy_files_are_refused() -> None:
    """As text and by path."""
    assert "There are two policy files" in refusal({"policies": "a = 1", "config": {"POLICIES": "/x"}})
