"""A request and its answer: what the application is told, and what is written."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.http.cycle import WHOLE, Cycle
from tests.unit.app.http.wire import Transport

pytestmark = pytest.mark.anyio

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
BODY = {"type": "http.response.body", "body": b"ok"}
WHOLLY: Any = {"type": "http.response.start", "status": 200, "headers": [], "body": b"ok"}
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
DEFECT = (
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 21\r\nconnection: close\r\n\r\nInternal Server Error"
)


class Wire:
    """A connection that notes what is asked of it."""

    def __init__(self) -> None:
        self.transport: Any = Transport()
        self.unwritable: asyncio.Future[None] | None = None
        self.fills: list[bool] = []
        self.answers = 0

    def fill(self, full: bool) -> None:
        self.fills.append(full)

    def on_answer(self) -> None:
        self.answers += 1


def made(wire: Wire, method: str = "POST", *, keep_alive: bool = True, **more: Any) -> Cycle:
    return Cycle(wire, {"method": method}, keep_alive=keep_alive, **{"expects": False, **more})


async def ran(cycle: Cycle, app: Callable[..., Awaitable[None]]) -> None:
    """The cycle is over, and is none of those that run any more."""
    running: set[asyncio.Task[None]] = set()
    cycle.task = asyncio.create_task(cycle.run(app, running))
    running.add(cycle.task)
    await cycle.task
    assert running == set()


@pytest.mark.parametrize(
    ("method", "events", "written"),
    [
        ("POST", [START, BODY], ANSWER),
        ("POST", [WHOLLY], ANSWER),
        ("HEAD", [START, BODY], b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"),
        ("HEAD", [WHOLLY], b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"),
        ("POST", [{**START, "status": 204, "headers": []}, {**BODY, "body": b""}], b"HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "GET",
            [{**START, "headers": []}, {**BODY, "more_body": True}, {"type": "http.response.body"}],
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
    ],
)
async def test_an_answer(method: str, events: list[Any], written: bytes) -> None:
    """Of known length, of none, in chunks, and to HEAD: nothing is written before the body, and then all at once."""
    wire = Wire()
    cycle = made(wire, method)
    for event in events:
        assert (wire.transport.written, wire.answers) == (b"", 0) or cycle.started
        await cycle.send(event)
    assert (wire.transport.written, wire.answers, wire.transport.calls) == (written, 1, [])


@pytest.mark.parametrize(("header", "said"), [([], [b"connection: close"]), ([(b"connection", b"Close")], [])])
async def test_a_connection_that_is_not_kept_ends_with_the_answer(header: list[Any], said: list[bytes]) -> None:
    """The client is told, once."""
    wire = Wire()
    cycle = made(wire, keep_alive=bool(header))
    cycle.feed(b"", more=False)
    await cycle.send({**START, "headers": [*START["headers"], *header]})  # type: ignore[misc]  # a list
    await cycle.send(BODY)
    assert wire.transport.calls == ["close"]
    head = wire.transport.written.partition(b"\r\n\r\n")[0]
    assert head.lower().split(b"\r\n")[2:] == [b"connection: close"]
    assert not said or head.endswith(said[0])


@pytest.mark.parametrize("header", [[], [(b"connection", b"close")]])
async def test_the_same_of_an_answer_in_one_piece(header: list[Any]) -> None:
    """As the gate says it while the service shuts down."""
    wire = Wire()
    cycle = made(wire, keep_alive=bool(header), body=b"")
    await cycle.send({**WHOLLY, "headers": header})
    assert wire.transport.calls == ["close"]
    head = wire.transport.written.partition(b"\r\n\r\n")[0]
    assert sorted(head.split(b"\r\n")[1:]) == [b"connection: close", b"content-length: 2"]


async def _silent(_: Any, __: Any, ___: Any) -> None:
    pass


async def _raises(_: Any, __: Any, ___: Any) -> None:
    raise ValueError("broken")


async def _half(_: Any, __: Any, send: Any) -> None:
    await send(START)
    raise ValueError("broken")


async def _long(_: Any, __: Any, send: Any) -> None:
    await send(START)
    await send({**BODY, "body": b"okay"})


async def _short(_: Any, __: Any, send: Any) -> None:
    await send(START)
    await send({**BODY, "body": b"o"})


async def _split(_: Any, __: Any, send: Any) -> None:
    await send({**START, "headers": [(b"content-length", b"2"), (b"a", b"b\r\nc: d")]})
    await send(BODY)


async def _split_whole(_: Any, __: Any, send: Any) -> None:
    await send({**WHOLLY, "headers": [(b"a", b"b\nc: d")]})


async def _unstarted(_: Any, __: Any, send: Any) -> None:
    await send(BODY)


@pytest.mark.parametrize("app", [_silent, _raises, _half, _long, _short, _split, _split_whole, _unstarted])
async def test_what_an_application_fails_to_answer(app: Callable[..., Awaitable[None]]) -> None:
    """The client gets 500 as long as nothing was written, and the connection ends."""
    wire = Wire()
    cycle = made(wire)
    cycle.feed(b"", more=False)
    await ran(cycle, app)
    assert (wire.transport.written, wire.transport.calls, wire.answers) == (DEFECT, ["close"], 1)


@pytest.mark.parametrize("fault", ["raises", "stops", "twice"])
async def test_an_answer_that_has_begun(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is cut off; one that is complete stays as it is, and the defect is logged."""
    caplog.set_level(logging.ERROR)
    wire = Wire()

    async def app(_: Any, __: Any, send: Any) -> None:
        await send(WHOLLY if fault == "twice" else START)
        await send({**BODY, "body": b"o", "more_body": True})
        if fault == "raises":
            raise ValueError("broken")

    await ran(made(wire), app)
    assert wire.transport.calls == ([] if fault == "twice" else ["close"])
    assert wire.transport.written == (ANSWER if fault == "twice" else ANSWER[:-1])
    assert [record.getMessage() for record in caplog.records] == ["a request failed"] * (fault != "stops")


async def test_a_body_that_comes_in_parts() -> None:
    """`receive` waits for the next part, lets reading go on meanwhile, and in the end for the client."""
    wire = Wire()
    cycle = made(wire)
    first = asyncio.create_task(cycle.receive())
    await asyncio.sleep(0)
    assert wire.fills == [False]
    for part in (b"ab", b"c"):
        cycle.feed(part, more=True)
    assert await first == {"type": "http.request", "body": b"abc", "more_body": True}
    cycle.feed(b"x" * 70_000, more=True)
    assert wire.fills == [False, True]
    cycle.feed(b"", more=False)
    assert await cycle.receive() == {"type": "http.request", "body": b"x" * 70_000, "more_body": False}
    last = asyncio.create_task(cycle.receive())
    await asyncio.sleep(0)
    await cycle.send(WHOLLY)
    assert await last == {"type": "http.disconnect"}
    cycle.feed(b"late", more=False)


async def test_a_body_that_is_there_is_in_the_scope() -> None:
    """Once it has arrived wholly, unless its client waits for 100, which `receive` says; nothing of it is kept."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope.get(WHOLE))
        seen.append(await receive())
        await send(WHOLLY)

    for more, expects in ((None, False), (False, False), (True, False), (False, True)):
        cycle = made(Wire(), expects=expects, body=b"ab" if more is None else None)
        if more is not None:
            cycle.feed(b"ab", more=more)
        await ran(cycle, app)
        assert (cycle.scope, cycle._body) == (None, b"")
    told = {"type": "http.request", "body": b"ab"}
    whole, part = {**told, "more_body": False}, {**told, "more_body": True}
    assert seen == [b"ab", whole, b"ab", whole, None, part, None, whole]


async def test_a_client_that_is_gone() -> None:
    """The application is told, and what it answers goes nowhere."""
    wire = Wire()
    cycle = made(wire)
    told = asyncio.create_task(cycle.receive())
    await asyncio.sleep(0)
    cycle.disconnected = True
    cycle.tell()
    assert await told == {"type": "http.disconnect"}
    await cycle.send(WHOLLY)
    await made(wire).send({**START})
    assert wire.transport.written == b""


async def test_a_client_that_waits_for_100_is_asked_to_go_on_once() -> None:
    """When the application asks for the body, and not if it answers without."""
    wire = Wire()
    cycle = made(wire, expects=True)
    cycle.feed(b"ab", more=False)
    await cycle.receive()
    await cycle.send(WHOLLY)
    assert wire.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER
    other = Wire()
    await made(other, expects=True).send(WHOLLY)
    assert other.transport.written == ANSWER


async def test_an_answer_waits_for_a_client_that_is_slow() -> None:
    """Until it takes what was written."""
    wire = Wire()
    wire.unwritable = asyncio.get_running_loop().create_future()
    sent = asyncio.create_task(made(wire).send(WHOLLY))
    await asyncio.sleep(0)
    assert wire.transport.written == b""
    wire.unwritable.set_result(None)
    await sent
    assert wire.transport.written == ANSWER
