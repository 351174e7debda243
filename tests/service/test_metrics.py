"""GET /metrics: what Prometheus reads there is what the clients were answered, over all processes of a service."""

import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.bodies import POLICIES, reward, score
from tests.support.processes import Server
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.scrape import Scrape, busy_service
from tests.support.service import service
from tests.support.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.anyio

REQUESTS = "oo_http_request_seconds_count"
# A request that is given up would be made again, and counted twice.
PATIENT = {"STORE_TIMEOUT_SECONDS": "30"}


@pytest.fixture(scope="module", params=["1", "2"])
async def busy(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """A service of one and of two processes that did a bit of everything."""
    async with busy_service(WORKERS=request.param) as busy:
        yield busy.server


def asking(server: Server) -> httpx.Client:
    return httpx.Client(base_url=server.url, timeout=PATIENCE_SECONDS)


def scraped(server: Server, what: str, reached: Callable[[Scrape], bool]) -> Scrape:
    """The first scrape of which `reached` is true."""
    seen: list[Scrape] = []

    def scrape() -> bool:
        seen.append(Scrape(server))
        return reached(seen[-1])

    until(scrape, what)
    return seen[-1]


def settled(server: Server, name: str, value: float, **labels: str) -> Scrape:
    """The scrape in which `name` has this value: another process may take a second to say what it counted."""

    def reached(seen: Scrape) -> bool:
        return seen.has(name, **labels) and seen.total(name, **labels) >= value

    return scraped(server, f"{name} {labels} {value:g}", reached)


async def test_counts_are_what_was_answered(busy: Server) -> None:
    """Requests by route template and true status, decisions, rewards by value, replays, generations and events add up
    over all processes."""
    for count, labels in (
        (1 + 3 * (20 + 20 + 2), {"method": "POST", "status": "200"}),
        (1, {"route": "/stats/egreedy/{user_id}", "status": "200"}),
        (1, {"method": "POST", "route": "/score", "status": "422"}),
        (1, {"method": "GET", "route": "(none)", "status": "404"}),
        (1, {"route": "/generate", "status": "502"}),
    ):
        seen = settled(busy, REQUESTS, count, **labels)
        assert seen.total(REQUESTS, **labels) == count
    for policy, path in POLICIES.items():
        assert seen.total(REQUESTS, method="POST", route=f"/score{path}", status="200") == 20
        assert seen.total("oo_decisions_total", policy=policy) == 20
        assert seen.total("oo_rewards_replayed_total", policy=policy) == 1
        by_value = {value: seen.total("oo_rewards_total", policy=policy, value=value) for value in ("-1", "0", "1")}
        assert by_value == {"-1": 4, "0": 4, "1": 5}
    assert seen.total("oo_decisions_total", policy="linucb-v1", explored="true") == 0
    assert seen.total("oo_llm_generations_total", outcome="ok") == 1
    assert seen.total("oo_llm_generations_total", outcome="LlmFailed") == 1
    assert seen.total("oo_llm_tries_total") == 3
    assert seen.total("oo_llm_tokens_total", kind="prompt") == 20
    assert seen.total("oo_llm_generation_seconds_count") == 2
    assert seen.total("oo_events_total", consumer="signals", outcome="failed") == 1
    assert seen.total("oo_policy_epsilon", policy="egreedy-v1") == 0.1
    assert seen.total("oo_build_info") == 1


async def test_store_is_timed(busy: Server) -> None:
    """Every change of state is one operation of a timed flush; errors, conflicts and retries are there at 0."""
    changes = 3 * (20 + 20 + 2) + 1

    def whole(seen: Scrape) -> bool:
        """Another process may be read while it writes: a sum without its counts."""
        counts = {seen.total(f"oo_store_{name}_count") for name in ("flush_seconds", "batch_operations")}
        return seen.total("oo_store_batch_operations_sum") >= changes and len(counts) == 1

    seen = scraped(busy, f"{changes} changes in as many batches as flushes", whole)
    assert seen.total("oo_store_batch_operations_sum") == changes
    assert seen.total("oo_store_batch_operations_count") <= changes
    assert seen.total("oo_store_flush_seconds_sum") > 0
    for error in ("StoreUnavailable", "ConflictError", "StoreError"):
        assert seen.total("oo_store_errors_total", error=error) == 0
    assert seen.total("oo_store_conflicts_total") == seen.total("oo_store_retries_total") == 0


async def test_buckets_add_up(busy: Server) -> None:
    """A histogram's buckets grow with their bounds, and the last holds every observation."""
    seen = Scrape(busy)
    histograms = [family for family in seen.families if family.type == "histogram"]
    assert {"oo_http_request_seconds", "oo_store_flush_seconds", "oo_llm_generation_seconds"} <= {
        family.name for family in histograms
    }
    for family in histograms:
        series: dict[str, list[tuple[float, float]]] = {}
        counts: dict[str, float] = {}
        for one in family.samples:
            key = str(sorted(item for item in one.labels.items() if item[0] != "le"))
            if one.name.endswith("_bucket"):
                series.setdefault(key, []).append((float(one.labels["le"]), one.value))
            elif one.name.endswith("_count"):
                counts[key] = one.value
        for key, buckets in series.items():
            values = [value for _, value in sorted(buckets)]
            assert values == sorted(values)
            assert values[-1] == counts[key]


async def test_gauges_are_of_the_processes_that_live(busy: Server) -> None:
    """Consumers that run and the limit of requests in hand are summed over the processes, the parent aside; the
    scrape itself takes no place."""
    workers = len(children(busy.pid)) or 1

    def idle(seen: Scrape) -> bool:
        """What a process said last may be of the moment in which it had something to do."""
        waiting = seen.total("oo_events_pending", consumer="signals"), seen.total("oo_http_requests_inflight")
        return seen.total("oo_events_running", consumer="signals") >= workers and waiting == (0, 0)

    seen = scraped(busy, "all processes take events and have none and no request", idle)
    assert seen.total("oo_events_running", consumer="signals") == workers
    assert seen.total("oo_http_requests_inflight_limit") == 512 * workers


async def test_no_user_is_named(busy: Server) -> None:
    """No user id, tip or word of a client is in what is exposed, and routes are templates."""
    text = Scrape(busy).text
    for word in ("ann", "user-", "tip-1", "nowhere", "plumber", "Walk"):
        assert not re.search(rf'="[^"]*{word}', text)


def children(pid: int) -> list[int]:
    """The processes whose parent is `pid` and that serve: multiprocessing's own tracker is not one of them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = (path.parent / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == pid and b"spawn_main" in command:
            found.append(int(path.parent.name))
    return found


@pytest.fixture
def store() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def test_a_worker_that_dies_takes_nothing_along(store: RedisServer, tmp_path: Path) -> None:
    """What a killed worker counted stays counted, what it said of its present is gone; and the files are removed with
    the service."""
    environ = PATIENT | {"REDIS_URL": store.url, "WORKERS": "2", "TMPDIR": str(tmp_path)}
    with service(environ) as server:
        with asking(server) as client:
            for number in range(30):
                client.post("/score", json=score(f"user-{number}")).raise_for_status()
        limit = 512.0
        settled(server, "oo_decisions_total", 30, policy="linucb-v1")
        settled(server, "oo_http_requests_inflight_limit", 2 * limit)
        before = children(server.pid)
        os.kill(before[0], signal.SIGKILL)
        until(lambda: len(set(children(server.pid)) - set(before)) == 1, "another worker")
        for number in range(10):
            until(lambda n=number: posted(server, n), "it serves on")  # type: ignore[misc]
        seen = settled(server, "oo_decisions_total", 40, policy="linucb-v1")
        assert seen.total("oo_decisions_total", policy="linucb-v1") == 40
        [new] = set(children(server.pid)) - set(before)
        until(lambda: list(tmp_path.glob(f"oo-metrics-*/gauge_livesum_{new}.db")), "the new worker tells of itself")
        until(lambda: Scrape(server).total("oo_http_requests_inflight_limit") == 2 * limit, "two live workers")
        assert not list(tmp_path.glob(f"oo-metrics-*/gauge_live*_{before[0]}.db"))
        assert server.stop() == 0
    assert not list(tmp_path.iterdir())


def test_a_worker_that_starts_spoils_no_scrape(store: RedisServer, tmp_path: Path) -> None:
    """A process makes each of its files empty, gives it a size and then fills it: a scrape that comes in between tells
    what the others have counted."""
    environ = PATIENT | {"REDIS_URL": store.url, "WORKERS": "2", "TMPDIR": str(tmp_path)}
    with service(environ) as server, asking(server) as client:
        client.post("/score", json=score()).raise_for_status()
        settled(server, "oo_decisions_total", 1, policy="linucb-v1")
        (directory,) = tmp_path.glob("oo-metrics-*")
        for kind in ("counter", "histogram", "gauge_max", "gauge_mostrecent", "gauge_livesum"):
            (directory / f"{kind}_{server.pid}.db").touch()
            (directory / f"{kind}_1{server.pid}.db").write_bytes(bytes(65_536))
        answer = client.get("/metrics")
        assert answer.status_code == 200
        assert 'oo_decisions_total{explored="false",policy="linucb-v1"} 1.0' in answer.text


def test_any_worker_tells_of_all(store: RedisServer) -> None:
    """What one worker counted is in a scrape of another within a second or two, unasked."""
    with service(PATIENT | {"REDIS_URL": store.url, "WORKERS": "2"}) as server, ExitStack() as stack:
        by_worker: dict[str, httpx.Client] = {}

        def both() -> bool:
            """A kept connection stays with its worker, and the ids that it makes begin alike."""
            client = stack.enter_context(asking(server))
            name = client.get("/health/live").headers["x-request-id"].partition("-")[0]
            by_worker[name] = client  # the newest: one that is idle for some seconds is closed
            return len(by_worker) == 2

        until(both, "a connection to each worker")
        one, other = by_worker.values()
        for _ in range(5):
            one.post("/score", json=score()).raise_for_status()
        line = 'oo_http_request_seconds_count{method="POST",route="/score",status="200"} 5.0'
        until(lambda: line in other.get("/metrics").text, "the other worker's counts")


def posted(server: Server, number: int) -> bool:
    with asking(server) as client:
        try:
            return client.post("/score", json=score(f"more-{number}")).status_code == 200
        except httpx.TransportError:
            return False


def test_refusals_and_odd_methods_are_counted_as_such() -> None:
    """401, 403, 404 and 405 count with the status the client saw; an unknown method counts as "other"."""
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc"
    with service({"API_KEYS": f"me:reader:{digest}"}) as server, asking(server) as client:
        me = {"Authorization": "Bearer abc"}
        assert client.post("/score", json=score()).status_code == 401
        assert client.post("/reward", json=reward(), headers=me).status_code == 403
        assert client.get("/stats/ann", headers=me).status_code == 200
        assert client.get("/stats", headers=me).status_code == 404
        assert client.put("/score", headers=me).status_code == 405
        assert client.request("PROPFIND", "/", headers=me).status_code in (404, 405)
        seen = Scrape(server)
        assert seen.total(REQUESTS, method="POST", route="/score", status="401") == 1
        assert seen.total(REQUESTS, method="POST", route="/reward", status="403") == 1
        assert seen.total(REQUESTS, method="GET", route="/stats/{user_id}", status="200") == 1
        assert seen.total(REQUESTS, method="GET", status="404") == 1
        assert seen.total(REQUESTS, method="PUT", status="405") == 1
        assert seen.total(REQUESTS, method="other") == 1


def test_store_trouble_is_counted(store: RedisServer) -> None:
    """While Redis is away, each flush that failed is counted as StoreUnavailable."""
    with service({"REDIS_URL": store.url}) as server, asking(server) as client:
        store.kill()
        assert client.post("/score", json=score()).status_code == 503
        seen = Scrape(server)
        assert seen.total("oo_store_errors_total", error="StoreUnavailable") == 1
        assert seen.total(REQUESTS, route="/score", status="503") == 1


def test_metrics_want_their_key() -> None:
    """With METRICS_KEY only its bearer may scrape, and an API key does not do; without it, everyone may."""
    with service({"METRICS_KEY": "m-1"}) as server, asking(server) as client:
        for credentials in ("", "Bearer m-2", "m-1", "Bearer ü", "Bearer", "Basic m-1"):
            answer = client.get("/metrics", headers={b"authorization": credentials.encode()})
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert "METRICS_KEY" in answer.json()["detail"]
        for credentials in ("Bearer m-1", "bEARER  m-1"):
            assert Scrape(server, {"Authorization": credentials}).total(REQUESTS, route="/metrics", status="401") == 6
        assert client.get("/health/live").status_code == 200


def test_the_first_failure_is_an_increase() -> None:
    """Before anything failed, the failures of decisions and of what is refused unread are there at 0."""
    with service() as server:
        seen = Scrape(server)
        for path in POLICIES.values():
            for route in (f"/score{path}", f"/reward{path}", "(none)"):
                for status in ("500", "503"):
                    assert seen.total(REQUESTS, method="POST", route=route, status=status) == 0
