"""Log lines as a machine reads them: JSON with the request's id, route, status and time, and nothing of its content."""

import asyncio
import io
import json
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import httpx
import pytest
from litestar import Request

from app.http.errors import answer_to
from app.observe.logs import REQUEST_ID, set_up
from state.redis.connect import open_servers
from state.store import Store
from state.update.batch import Change, Fields, Hash
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


class Terminal(io.StringIO):
    is_one = True

    def isatty(self) -> bool:
        return self.is_one


def test_an_unexpected_error_is_logged_without_the_path(caplog: pytest.LogCaptureFixture) -> None:
    """The client is told nothing of it, the log has its traceback and the route, not the path with the user in it."""
    scope: Any = {"type": "http", "method": "GET", "path": "/stats/W3ird", "path_template": "/stats/{user_id}"}
    answer = answer_to(Request(scope), RuntimeError("a defect"))
    assert (answer.status_code, answer.content.detail) == (500, "internal server error")
    assert "GET /stats/{user_id} failed" in caplog.text
    assert "RuntimeError: a defect" in caplog.text
    assert "W3ird" not in caplog.text


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


@contextmanager
def terminal(*, is_one: bool = True) -> Iterator[Terminal]:
    """A stderr that says whether it is a terminal; the logging of the test run is put back afterwards."""
    root = logging.getLogger()
    handlers, level, stderr = root.handlers[:], root.level, sys.stderr
    root.handlers[:] = []
    logging.captureWarnings(capture=False)
    sys.stderr = screen = Terminal()
    screen.is_one = is_one
    try:
        yield screen
    finally:
        sys.stderr = stderr
        logging.captureWarnings(capture=False)
        root.handlers[:] = handlers
        root.setLevel(level)


def test_at_a_terminal_lines_are_readable() -> None:
    """A person sees time, level, logger, message and what belongs to it; and a traceback below it."""
    with terminal() as screen:
        set_up("info", "auto")
        log = logging.getLogger("oo.test")
        log.debug("unseen")
        REQUEST_ID.set("r-1")
        try:
            log.info("a %s line", "readable", extra={"status": 200})
            raise ValueError("broken")
        except ValueError:
            log.exception("it failed")
        finally:
            REQUEST_ID.set(None)
    first, second, *traceback = screen.getvalue().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d info    oo\.test: a readable line status=200 request_id=r-1", first)
    assert second.endswith("error   oo.test: it failed request_id=r-1")
    assert traceback[-1] == "ValueError: broken"


@pytest.mark.parametrize(("form", "is_json"), [("json", True), ("text", False), ("auto", True)])
def test_the_form_and_level_can_be_chosen(form: Literal["json", "text", "auto"], *, is_json: bool) -> None:
    """LOG_FORMAT is JSON or text, and auto is JSON wherever stderr is no terminal; LOG_LEVEL hides what is less
    severe."""
    with terminal(is_one=False) as screen:
        set_up("error", form)
        logging.getLogger("oo.test").warning("unseen")
        logging.getLogger("oo.test").error("seen")
    [line] = screen.getvalue().splitlines()
    assert "seen" in line
    assert line.startswith("{") is is_json


def test_a_warning_is_a_line() -> None:
    """What Python or a library warns of at run time is no text of another form among the lines."""
    with terminal() as screen, warnings.catch_warnings():
        warnings.simplefilter("always")
        set_up("info", "json")
        warnings.warn("soon to be removed", DeprecationWarning, stacklevel=1)
    # What else is warned of meanwhile, by a garbage collection for example, is a line of its own.
    said = [json.loads(line) for line in screen.getvalue().splitlines()]
    assert [line["level"] for line in said if "soon to be removed" in line["message"]] == ["warning"]


def test_lines_before_the_application_is_made_have_the_form_too() -> None:
    """A library may have something to say of the environment while the application is made."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "odd"}
    with service({**environ, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}) as server:
        assert any("sampler odd" in line["message"] for line in lines(server))


def test_json_lines_hold_whatever_is_logged() -> None:
    """A line end in a message does not make two lines, and a value that JSON does not know is written as text."""
    with terminal() as screen:
        set_up("info", "json")
        log = logging.getLogger("oo.test")
        log.info("two\nlines", extra={"number": 1, "path": RuntimeError("x")})
        try:
            raise ValueError("broken\nin two")
        except ValueError:
            log.exception("it failed")
    first, second = screen.getvalue().splitlines()
    said = json.loads(first)
    assert (said["message"], said["number"], said["path"]) == ("two\nlines", 1, "x")
    assert json.loads(second)["exception"].endswith("ValueError: broken\nin two")
