"""Log lines as a machine reads them: JSON with the request's id, route, status and time, and nothing of its content."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.observe.logs import REQUEST_ID
from state.redis.connect import open_servers
from state.store import Store
from state.update.changes import Change, Fields, Hash
from tests.support.bodies import reward, score
from tests.support.processes import Server
from tests.support.redis_servers import redis_server
from tests.support.service import service
from tests.support.waiting import PATIENCE_SECONDS, until

TIME = re.compile(r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def lines(server: Server) -> list[dict[str, Any]]:
    """Everything the service wrote, each line read as JSON, but for one that is being written."""
    return [json.loads(line) for line in server.log.rpartition("\n")[0].splitlines()]


def requests(server: Server) -> list[dict[str, Any]]:
    return [line for line in lines(server) if line["logger"] == "oo.access" and "status" in line]


def asking(server: Server, headers: dict[str, str] | None = None) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers=headers, timeout=PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def talkative() -> Iterator[Server]:
    with service({"ACCESS_LOG": "all", "LOG_LEVEL": "debug", "METRICS_KEY": "m-secret"}) as server:
        yield server


def test_every_line_is_json(talkative: Server) -> None:
    """All of it, the server's own lines at the start included, is JSON with time, level, logger and message."""
    assert lines(talkative)
    for line in lines(talkative):
        assert TIME.fullmatch(line["ts"])
        assert line["level"] in ("debug", "info", "warning", "error", "critical")
        assert line["logger"]
        assert line["message"]
    assert any("memory://" in line["message"] and line["level"] == "warning" for line in lines(talkative))


def test_a_request_leaves_a_line(talkative: Server) -> None:
    """Its id is the client's, or one of ours, and is answered; method, route template, status and milliseconds stand
    beside it."""
    with asking(talkative) as client:
        given = client.post("/score", json=score(), headers={"X-Request-ID": "from-the-phone-1"})
        made = [client.get(f"/stats/user-{number}") for number in range(2)]
    assert given.headers["x-request-id"] == "from-the-phone-1"
    ids = [answer.headers["x-request-id"] for answer in made]
    assert len(set(ids)) == 2
    wanted = {"from-the-phone-1", *ids}
    until(lambda: wanted <= {line["request_id"] for line in requests(talkative)}, "a line of each")
    by_id = {line["request_id"]: line for line in requests(talkative)}
    line = by_id["from-the-phone-1"]
    assert (line["method"], line["route"], line["status"], line["level"]) == ("POST", "/score", 200, "info")
    assert 0 < line["ms"] < PATIENCE_SECONDS * 1000
    assert "trace_id" not in line
    for request_id in ids:
        assert by_id[request_id]["route"] == "/stats/{user_id}"


@pytest.mark.parametrize("bad", ["", "x" * 129, "two words", "ü", "tab\there"])
def test_an_id_that_cannot_stand_in_a_line_is_replaced(talkative: Server, bad: str) -> None:
    """A client's id is visible ASCII of at most 128 characters; any other is not repeated anywhere."""
    with asking(talkative) as client:
        answer = client.get("/prompts", headers={b"x-request-id": bad.encode()})
    assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", answer.headers["x-request-id"])
    assert not bad or bad not in talkative.log


def test_nothing_of_a_request_is_logged(talkative: Server) -> None:
    """At the most talkative level, neither a body nor a user id nor a key nor a query is in any line: not of requests
    that succeed, are refused, or fail."""
    secret = "W3ird-content"
    told = score(secret)
    told["candidates"][0]["content"] = secret
    key = {"Authorization": f"Bearer {secret}", "Idempotency-Key": secret, "Cookie": secret}
    with asking(talkative, key) as client:
        assert client.post("/score", json=told).status_code == 200
        assert client.post("/reward", json=reward(secret)).status_code == 200
        assert client.post("/score", content=f'{{"user_id": "{secret}"').status_code == 422
        assert client.post("/generate", json={"user_id": secret, "tasks": [{"title": secret}]}).status_code == 503
        for path in ("/stats", "/features", "/nowhere", "/stats/egreedy/v2"):
            client.get(f"{path}/{secret}?q={secret}")
        client.post(f"/reset/{secret}")
        assert client.get("/metrics").status_code == 401
    # A line follows its answer.
    until(lambda: requests(talkative)[-1]["route"] == "/metrics", "the last line")
    assert secret not in talkative.log
    assert "m-secret" not in talkative.log


def test_a_failure_names_its_route_and_request() -> None:
    """By default only refusals and failures leave a line; one of 500 and above is a warning."""
    with (
        redis_server() as store,
        service({"REDIS_URL": store.url, "STORE_TIMEOUT_SECONDS": "30"}) as server,
        asking(server) as client,
    ):
        assert client.post("/score", json=score()).status_code == 200
        assert client.get("/nowhere/ann").status_code == 404
        until(lambda: requests(server), "a line of the refusal")
        store.kill()
        client.post("/score", json=score(), headers={"X-Request-ID": "mine"})
        until(lambda: any(line["request_id"] == "mine" for line in requests(server)), "a line of the failure")
        found = requests(server)
    assert {(line["route"], line["status"], line["level"]) for line in found if "health" not in line["route"]} == {
        ("", 404, "info"),
        ("/score", 503, "warning"),
    }
    assert "ann" not in "".join(map(json.dumps, found))


@pytest.mark.anyio
async def test_a_flush_belongs_to_no_request() -> None:
    """What the store says while it flushes the changes of several requests carries the id of none of them."""
    seen: list[str | None] = []
    servers = open_servers("memory://", size=4, timeout=30)
    store = Store(
        servers, timeout=30, history_size=1, marker_seconds=1, observe=lambda flush: seen.append(REQUEST_ID.get())
    )

    async def change(number: int) -> None:
        REQUEST_ID.set(f"request-{number}")
        key = f"key-{number}"
        written = Change(None, (Fields(key, {b"field": b"1"}),))
        await store.update("ann", (Hash(key, (b"field",)),), lambda _: written)
        assert REQUEST_ID.get() == f"request-{number}"

    await asyncio.gather(*(asyncio.create_task(change(number)) for number in range(5)))
    await store.close()
    assert set(seen) == {None}


def test_lines_before_the_application_is_made_have_the_form_too() -> None:
    """A library may have something to say of the environment while the application is made."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "odd"}
    with service({**environ, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}) as server:
        assert any("sampler odd" in line["message"] for line in lines(server))
