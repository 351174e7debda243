"""Upgrades of a release: with the values of an older chart, and what is refused before anything has changed."""

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from tests.chart.rendering import HELM, Manifest, case_values, installed, one, render
from tests.support.processes import ROOT

OLDER = sorted((ROOT / "tests" / "data" / "chart").glob("*.yaml"))


@pytest.fixture(scope="module")
def release() -> list[Manifest]:
    """The objects of the default release, as a cluster has them."""
    return render({"redis": {"auth": {"password": "same"}}})


def changed(release: list[Manifest], kind: str, name: str, **values: Any) -> list[Manifest]:
    """The same release with another object of this kind: `spec__a__b=1` sets its spec.a.b."""
    found = copy.deepcopy(release)
    item = one(found, kind, name)
    for path, value in values.items():
        node = item
        *places, last = path.split("__")
        for place in places:
            node = node[place]
        node[last] = value
    return found


def refused(objects: list[Manifest], values: Manifest, **options: Any) -> str:
    with pytest.raises(helm_python.HelmError) as caught:
        installed(objects, values, **options)
    return str(caught.value)


# Values of an older chart


@pytest.mark.parametrize("path", OLDER, ids=lambda path: path.stem)
def test_values_of_an_older_chart_are_enough(path: Path, tmp_path: Path) -> None:
    """`helm upgrade --reuse-values` puts the old chart's defaults in the place of the new one's: what is new since has
    its default, and no key that there was is refused."""
    chart = tmp_path / "chart"
    shutil.copytree(HELM, chart, ignore=shutil.ignore_patterns("ci", "__pycache__"))
    shutil.copy(path, chart / "values.yaml")
    old = case_values(path)
    new = case_values(HELM / "values.yaml")
    assert old.keys() < new.keys()
    kept = {name: value for name, value in old["config"].items() if name in new["config"]}
    values: Manifest = {"redis": {"auth": {"existingSecret": "same"}}, "config": kept}
    assert render(values, chart) == render(values)
    values |= {"ingress": {"enabled": True, "hosts": [{"host": "a"}]}, "serviceMonitor": {"enabled": True}}
    values |= {"httpRoute": {"enabled": True, "parentRefs": [{"name": "a"}]}, "prometheusRule": {"enabled": True}}
    values |= {
        "secrets": {"NATS_URL": {"existingSecret": "nats"}},
        "keda": {"enabled": True, "natsMonitoringEndpoint": "nats:8222"},
    }
    assert render(values, chart) == render(values)


def test_each_version_says_how_to_upgrade() -> None:
    """The chart's README has a part for the version in Chart.yaml, after the older ones' have come."""
    version = case_values(HELM / "Chart.yaml")["version"]
    parts = re.findall(r"^### To (\S+)$", (HELM / "README.md").read_text(), re.MULTILINE)
    assert parts[0] == version
    assert parts == sorted(parts, reverse=True)
    assert {path.stem.partition("-")[0] for path in OLDER} == {"0.1.0"}, "each released chart's values are kept"


# What Kubernetes does not let change


def test_an_upgrade_that_changes_nothing_is_let_through(release: list[Manifest]) -> None:
    """And one that says the same size in other words; and whatever it says, a first install."""
    assert installed(release, {"redis": {"persistence": {"size": "4096Mi"}}})
    assert installed(release, {"redis": {"persistence": {"size": "8Gi"}}}, upgrade=False)
    assert installed([], {"redis": {"persistence": {"size": "8Gi"}}})
    assert installed(release, {"redis": {"enabled": False}, "replicaCount": 1})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"config": {"ALPHA": 0.7}, "redis": {"persistence": {"size": "8Gi"}}},
            "redis.persistence.size=8Gi is 4Gi in the cluster, which StatefulSet oo-serving-redis cannot change: see",
        ),
        ({"redis": {"persistence": {"storageClass": "fast"}}}, 'storageClass="fast" is "" in the cluster'),
        (
            {"redis": {"persistence": {"accessModes": ["ReadWriteMany"]}}},
            'accessModes=["ReadWriteMany"] is ["ReadWriteOnce"] in the cluster',
        ),
        (
            {"redis": {"persistence": {"enabled": False}}},
            "redis.persistence.enabled=false and redis.persistence.existingClaim",
        ),
        ({"redis": {"persistence": {"existingClaim": "a"}}}, 'redis.persistence.existingClaim="a" would change'),
        (
            {"nameOverride": "other"},
            (
                "The Redis of this release is StatefulSet oo-serving-redis; nameOverride and fullnameOverride would "
                "make another one, oo-other-redis, without its data: keep the names of the install."
            ),
        ),
        ({"fullnameOverride": "other"}, "would make another one, other-redis, without its data"),
        (
            {"nameOverride": "other", "fullnameOverride": "oo-serving"},
            (
                "Deployment oo-serving selects pods called oo-serving, and would select those called other, which "
                "cannot be changed: set nameOverride=oo-serving."
            ),
        ),
    ],
)
def test_what_cannot_be_changed_is_refused(release: list[Manifest], values: Manifest, sentence: str) -> None:
    """Before Helm has changed the first object, with a sentence that names the value."""
    assert sentence in refused(release, values)


def test_other_cannots(release: list[Manifest]) -> None:
    """The first family of a Service; the selector of Redis; a claim that there is no more. A Redis of another release
    is not ours."""
    families = changed(release, "Service", "serving", spec__ipFamilies=["IPv4"])
    assert installed(families, {"service": {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv6"]}})
    text = refused(families, {"service": {"ipFamilies": ["IPv6"]}})
    assert "service.ipFamilies begins with IPv6 and Service oo-serving with IPv4, which cannot be changed" in text
    labels = one(release, "StatefulSet")["metadata"]["labels"]
    other = labels | {"app.kubernetes.io/instance": "another"}
    theirs = changed(release, "StatefulSet", "redis", metadata__labels=other, metadata__name="another-redis")
    assert installed(theirs, {"fullnameOverride": "oo-serving"})
    wider = changed(release, "StatefulSet", "redis", spec__selector__matchLabels={"app.kubernetes.io/name": "old"})
    assert "StatefulSet oo-serving-redis selects pods called old" in refused(wider, {})
    assert "would change whether" in refused(
        changed(release, "StatefulSet", "redis", spec__volumeClaimTemplates=[]), {}
    )


def test_all_is_said_at_once(release: list[Manifest]) -> None:
    """What cannot be changed and what cannot work are told together."""
    values = {"redis": {"persistence": {"size": "8Gi"}}, "strategy": {"maxSurge": 0}}
    text = refused(release, values)
    assert "redis.persistence.size=8Gi" in text
    assert "strategy.maxSurge" in text


def test_the_page_has_the_part_that_is_named() -> None:
    """The sentence leads to a heading of the page, and objects that cannot be asked for are not guessed."""
    page = (ROOT / "docs" / "run" / "kubernetes.md").read_text()
    source = (HELM / "templates" / "_immutable.tpl").read_text()
    [name] = set(re.findall(r'see \\"(.+?)\\" in docs/run/kubernetes.md', source))
    assert re.search(rf"^##+ {name}$", page, re.MULTILINE)
    assert yaml.safe_load(json.dumps(render(is_upgrade=True)))
