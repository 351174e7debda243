"""What every request passes first: admission, its id, its time, its line in the log."""

import asyncio
import logging
import re
from typing import Any, Literal

import msgspec
import pytest

from app.http.draining import Draining
from app.http.gate import Gate
from app.observe.logs import REQUEST_ID
from app.observe.metrics import Metrics

pytestmark = pytest.mark.anyio


class Gated:
    """A gate before an application that answers `status`, or waits, or raises."""

    def __init__(self, most: int = 9, log: Literal["all", "errors", "off"] = "all") -> None:
        self.metrics = Metrics("1", (), {})
        self.draining = Draining(0, 1)
        self.status = 200
        self.error: Exception | None = None
        self.waits: asyncio.Event | None = None
        self.seen: list[tuple[str, str | None]] = []
        self._gate = Gate(self.app, most, self.metrics, self.draining, log)

    async def app(self, scope: Any, _: Any, send: Any) -> None:
        self.seen.append((scope["path"], REQUEST_ID.get()))
        scope["path_template"] = "/route"
        if self.waits:
            await self.waits.wait()
        if self.error:
            raise self.error
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def ask(
        self, path: str = "/score", request_id: bytes = b"", query: bytes = b""
    ) -> tuple[int, dict[str, str], Any]:
        """The status, headers and decoded body of the answer."""
        sent: list[Any] = []

        async def send(event: Any) -> None:
            sent.append(event)

        headers = [(b"x-request-id", request_id)] if request_id else []
        scope: Any = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": query,
            "headers": headers, "state": {},
        }  # fmt: skip
        await self._gate(scope, None, send)  # type: ignore[arg-type]  # the application reads nothing
        start, body = sent
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return start["status"], found, msgspec.json.decode(body["body"]) if body["body"] else None

    def counted(self, line: str) -> bool:
        return line in self.metrics.text().decode()


async def test_more_than_may_be_in_flight_are_refused() -> None:
    """With 503 and when to try again; probes and metrics pass, and a place is free when its request ends."""
    gated = Gated(most=1)
    gated.waits = asyncio.Event()
    first = asyncio.create_task(gated.ask())
    await asyncio.sleep(0)
    status, headers, body = await gated.ask()
    assert (status, headers["retry-after"], body) == (503, "1", {"detail": "too many requests at once"})
    assert len(gated.seen) == 1
    gated.waits.set()
    assert (await gated.ask("/health/live"))[0] == (await gated.ask("/metrics"))[0] == 200
    assert (await first)[0] == 200
    assert (await gated.ask())[0] == 200
    assert gated.metrics.inside == 0
    assert gated.counted("oo_http_requests_refused_total 1.0")
    assert gated.counted('oo_http_request_seconds_count{method="POST",route="/route",status="200"} 4.0')


@pytest.mark.parametrize("given", [b"mine-1", b"x" * 128])
async def test_a_request_keeps_its_id(given: bytes) -> None:
    """It is answered with it, and the log knows it meanwhile."""
    gated = Gated()
    _, headers, _ = await gated.ask(request_id=given)
    assert headers["x-request-id"] == given.decode() == gated.seen[0][1]


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"two words", b"\xfc", b"tab\there"])
async def test_another_id_is_replaced(given: bytes) -> None:
    """By one of our own, new for each request."""
    gated = Gated()
    ids = {(await gated.ask(request_id=given))[1]["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
    assert all(re.fullmatch("[0-9a-f]{12}-[0-9a-f]+", one) for one in ids)


async def test_a_service_that_is_stopping_closes_connections() -> None:
    """Each answer says so."""
    gated = Gated()
    assert "connection" not in (await gated.ask())[1]
    gated.draining.begin()
    assert (await gated.ask())[1]["connection"] == "close"


async def test_a_request_that_a_stop_cancels_is_answered() -> None:
    """With 503, so that the client tries another replica."""
    gated = Gated()
    gated.waits = asyncio.Event()
    asked = asyncio.create_task(gated.ask())
    await asyncio.sleep(0)
    asked.cancel()
    status, _, body = await asked
    assert (status, body) == (503, {"detail": "the service is shutting down"})


@pytest.mark.parametrize(
    ("path", "query", "location"),
    [("/score/", b"", "../score"), ("/stats/a%2Fb/", b"x=1", "../a%2Fb?x=1")],
)
async def test_a_slash_at_the_end_is_led_to_the_path_without(path: str, query: bytes, location: str) -> None:
    """By a relative address, with the query."""
    gated = Gated()
    status, headers, _ = await gated.ask(path, query=query)
    assert (status, headers["location"], gated.seen) == (307, location, [])


async def test_a_path_that_litestar_would_mistake_is_unknown() -> None:
    """One with an empty part; an encoded slash is part of an id."""
    gated = Gated()
    assert (await gated.ask("//score"))[0] == 404
    assert gated.seen == []
    assert (await gated.ask("/stats/a%2Fb"))[0] == 200
    assert gated.seen[0][0] == "/stats/a%2Fb"


@pytest.mark.parametrize(("log", "statuses"), [("all", [200, 404, 503]), ("errors", [404, 503]), ("off", [])])
async def test_which_requests_leave_a_line(
    log: Literal["all", "errors", "off"], statuses: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """As ACCESS_LOG says; those of 500 and above are warnings."""
    caplog.set_level(logging.INFO)
    gated = Gated(log=log)
    for gated.status in (200, 404, 503):
        await gated.ask()
    lines = [record for record in caplog.records if record.name == "oo.access"]
    assert [vars(line)["status"] for line in lines] == statuses
    assert [line.levelno for line in lines] == [
        logging.WARNING if status >= 500 else logging.INFO for status in statuses
    ]
    assert all((vars(line)["method"], vars(line)["route"]) == ("POST", "/route") for line in lines)


async def test_an_error_counts_as_500(caplog: pytest.LogCaptureFixture) -> None:
    """Also one that reaches the server, and its place is free again."""
    gated = Gated()
    gated.error = RuntimeError("a defect")
    with pytest.raises(RuntimeError):
        await gated.ask()
    assert gated.metrics.inside == 0
    assert gated.counted('status="500"} 1.0')
    assert vars(caplog.records[-1])["status"] == 500
