"""Alerts and dashboard against the service itself: a real Prometheus scrapes it and evaluates every expression."""

import functools
import json
import re
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.observe.metrics import Metrics
from tests.support.bodies import POLICIES, reward, score
from tests.support.processes import ROOT, Server, free_port, http_answers, program
from tests.support.scrape import Busy, busy_service
from tests.support.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.anyio

RULES = ROOT / "helm" / "files" / "rules.yaml"
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
BOARD = json.loads((ROOT / "helm" / "files" / "dashboard.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
RUNBOOK = (ROOT / "docs" / "run" / "runbook.md").read_text()
OBSERVABILITY = (ROOT / "docs" / "run" / "observability.md").read_text()
# A series, recorded or scraped, with what is asked of its labels.
SELECTOR = re.compile(r"\b(?:oo_|oo:|process_)[a-z0-9_:]+(?:\{[^}]*\})?")


def promtool(*words: str | Path) -> None:
    done = subprocess.run([program("promtool"), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_valid() -> None:
    """promtool finds nothing wrong with any rule."""
    promtool("check", "rules", RULES)


def test_every_alert_fires_when_it_should_and_only_then() -> None:
    """promtool runs the unit tests of the rules; each alert has one in which it fires, and all are quiet in good
    weather."""
    path = ROOT / "tests" / "data" / "rules_test.yaml"
    promtool("test", "rules", path)
    tests = yaml.safe_load(path.read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", []) if case["exp_alerts"]}
    assert fired == ALERTS.keys()


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_its_part_of_the_runbook(name: str) -> None:
    """The page names what the alert means, how to look, and what to do, with commands; its anchor is where the alert
    points. The alert points to a panel, too, and the first page leads to it."""
    alert = ALERTS[name]
    assert alert["annotations"]["runbook_url"] == f"docs/run/runbook.md#{name.lower()}"
    link = re.fullmatch(r"d/oo-serving/oo-serving\?viewPanel=(\d+)(&var-.*)?", alert["annotations"]["dashboard_url"])
    assert link, "no panel shows it"
    assert int(link[1]) in {panel["id"] for panel in PANELS}
    assert BOARD["uid"] == "oo-serving"
    assert alert["labels"]["severity"] in ("warning", "critical")
    assert f"[{name}](#{name.lower()})" in RUNBOOK.partition("\n## Oo")[0], "the first page does not lead to it"
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert found, f"docs/run/runbook.md has no heading {name}"
    for word in ("**Means.**", "**Look.**", "**Do.**", "```"):
        assert word in found[1], f"{name}: no {word}"


def test_the_runbook_is_about_alerts_there_are() -> None:
    """No part of the page is left over from an alert that was renamed."""
    assert set(re.findall(r"^## (Oo\w+)", RUNBOOK, re.MULTILINE)) == ALERTS.keys()


@contextmanager
def prometheus(server: Server) -> Iterator[Server]:
    """A Prometheus that scrapes the service every other second and evaluates the rules several times per second."""
    config = {
        # A scrape has no more time than there is between two: enough for a service on a busy machine.
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "500ms"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {
                "job_name": "oo",
                "static_configs": [{"targets": [server.url.removeprefix("http://")], "labels": {"namespace": "n"}}],
            }
        ],
    }
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="oo-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
        argv: list[str | Path] = [
            program("prometheus"),
            f"--config.file={directory}/prometheus.yaml",
            f"--storage.tsdb.path={directory}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        ready = functools.partial(http_answers, path="/-/ready", status=200)
        scraper = Server(argv, port=port, url=f"http://127.0.0.1:{port}", directory=directory, ready=ready)
        try:
            yield scraper.start()
        finally:
            scraper.kill()


@pytest.fixture(scope="module")
async def busy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Busy]:
    async with busy_service(DECISION_LOG=f"file://{tmp_path_factory.mktemp('log')}") as busy:
        yield busy


def ask(scraper: Server, expression: str) -> list[Any]:
    """The series that an expression gives now."""
    series: list[Any] = api(scraper, f"query?query={quote(expression)}")["result"]
    return series


def awaited(scraper: Server, expression: str) -> list[Any]:
    """The series that an expression gives, once it gives any: a scrape that fails ends them all until the next."""
    series: list[Any] = []

    def given() -> bool:
        series[:] = ask(scraper, expression)
        return bool(series)

    until(given, expression)
    return series


def api(scraper: Server, path: str) -> Any:
    try:
        with urllib.request.urlopen(f"{scraper.url}/api/v1/{path}", timeout=PATIENCE_SECONDS) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{path}: {error.read().decode()}") from None


@pytest.fixture(scope="module")
def scraped(busy: Busy) -> Iterator[Server]:
    """A Prometheus that saw the service work, and its Redis being away for a moment."""
    server = busy.server
    with prometheus(server) as scraper:
        awaited(scraper, "oo_build_info")
        with httpx.Client(base_url=server.url, timeout=PATIENCE_SECONDS) as client:
            decide = {"user_id": "ann", "id": "once", "candidates": [{"id": "rent"}]}
            client.post("/decisions", json=decide).raise_for_status()
            client.post("/decisions/once.YW5u/reward", json={"reward": 1}).raise_for_status()
            busy.store.kill()
            assert client.post("/score", json=score()).status_code == 503
            assert client.get("/health/ready").status_code == 503
            busy.store.start()
            until(lambda: client.get("/health/ready").status_code == 200, "ready again")
            for number, path in product(range(20), POLICIES.values()):
                client.post(f"/score{path}", json=score(f"late-{number}")).raise_for_status()
                client.post(f"/reward{path}", json=reward(f"late-{number}")).raise_for_status()
        awaited(scraper, 'sum(oo_decisions_total{policy="egreedy-v1"}) == 41')
        until(lambda: len(ask(scraper, "oo:reward_mean:increase1h")) == 3, "recorded")
        awaited(scraper, "oo:http_error_ratio:rate6h")
        yield scraper


async def test_every_rule_evaluates(scraped: Server) -> None:
    """Prometheus evaluates each rule against the real metrics without an error."""

    def health() -> dict[str, str]:
        groups = api(scraped, "rules")["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    until(lambda: "unknown" not in health().values(), "every rule was evaluated")
    found = health()
    assert found.keys() >= ALERTS.keys()
    assert set(found.values()) == {"ok"}


async def test_every_series_a_rule_asks_for_is_there(scraped: Server) -> None:
    """Each metric with the labels that a rule asks for is exposed or recorded: a typing error would never fire."""
    asked = {found for group in GROUPS for rule in group["rules"] for found in SELECTOR.findall(rule["expr"])}
    assert len(asked) > 25
    for selector in asked:
        assert awaited(scraped, selector)


def expressions() -> dict[str, str]:
    """Every expression of the dashboard, by its panel and letter, with its variables filled in as for "All"."""
    found = {}
    for panel in PANELS:
        for target in panel["targets"]:
            text = target["expr"].replace("$__rate_interval", "1m")
            found[f"{panel['title']} {target['refId']}"] = re.sub(r"\$(namespace|job)", ".*", text)
    return found


async def test_starts_are_marked(scraped: Server) -> None:
    """The marks of the dashboard are at the time at which a process started, and none tells of a version that was there
    before."""
    rollouts, starts = (re.sub(r"\$(namespace|job)", ".*", one["expr"]) for one in BOARD["annotations"]["list"])
    [start] = awaited(scraped, starts)
    [began] = awaited(scraped, 'process_start_time_seconds{job="oo"}')
    assert float(start["value"][1]) == 1_000 * float(began["value"][1])
    assert start["metric"].keys() >= {"instance", "version"}
    assert [series["metric"].keys() for series in awaited(scraped, rollouts)] == [{"version"}]
    assert ask(scraped, rollouts.replace("offset 5m", "")) == []


async def test_every_panel_shows_something(scraped: Server) -> None:
    """Each expression of the dashboard gives series with the labels that its legend names."""
    shown = {name: awaited(scraped, expression) for name, expression in expressions().items()}
    for panel in PANELS:
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) - {"pod"}  # Kubernetes' own
            series = shown[f"{panel['title']} {target['refId']}"]
            assert all(named <= one["metric"].keys() for one in series), panel["title"]


def test_panels_have_ids_titles_and_room_of_their_own() -> None:
    """Grafana loses panels that share an id; none covers another."""
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells


async def test_every_metric_is_described(scraped: Server) -> None:
    """docs/run/observability.md has a row for each metric the service exposes, and for no other."""
    names = set(ask_names(scraped))
    described = set(re.findall(r"^\| `(oo_\w+)`", OBSERVABILITY, re.MULTILINE))
    assert described == {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in names}


def ask_names(scraper: Server) -> list[str]:
    names: list[str] = api(scraper, "label/__name__/values")
    return [name for name in names if name.startswith("oo_") and not name.endswith("_created")]


def test_a_new_service_already_exposes_what_rules_ask_for() -> None:
    """Counters are there at 0 before the first error: an increase from nothing to 1 is not seen as one."""
    metrics = Metrics("1", ("linucb-v1", "egreedy-v2"), {})
    metrics.expect_loops(["tips"])
    text = metrics.text().decode()
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    seen = {(one.name, frozenset(one.labels.items())): one.value for one in samples}
    for name, labels in (
        ("oo_store_errors_total", {"error": "StoreUnavailable"}),
        ("oo_store_errors_total", {"error": "ConflictError"}),
        ("oo_store_conflicts_total", {}),
        ("oo_http_requests_refused_total", {}),
        ("oo_rate_limit_unknown_total", {}),
        ("oo_llm_generations_total", {"outcome": "LlmUnavailable"}),
        ("oo_redis_clock_skew_seconds", {}),
        ("oo_log_lines_lost_total", {}),
        ("oo_loop_decisions_total", {"loop": "tips"}),
        ("oo_decision_outcomes_total", {"loop": "tips", "outcome": "applied"}),
        ("oo_decisions_ended_total", {"loop": "tips", "how": "default"}),
        ("oo_rewards_total", {"policy": "linucb-v1", "value": "-0.5"}),
        ("oo_decisions_total", {"policy": "egreedy-v2", "explored": "true"}),
    ):
        assert seen[name, frozenset(labels.items())] == 0
