"""Bodies are read up to a limit, and work ends with its client."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from litestar import Request

from app.http.body import Answer, ClientGone, TooLarge, read_body, while_connected
from app.http.cycle import WHOLE
from app.messages.basics import Ok

pytestmark = pytest.mark.anyio


def request(parts: Sequence[bytes | None], headers: Sequence[tuple[bytes, bytes]] = ()) -> Request[Any, Any, Any]:
    """A request that comes in these parts, None for a client that disconnects."""
    events: list[Any] = [
        {"type": "http.disconnect"}
        if part is None
        else {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, 1)
    ]

    async def receive() -> Any:
        return events.pop(0) if events else await asyncio.Event().wait()

    scope: Any = {"type": "http", "headers": headers}
    return Request(scope, receive)


@pytest.mark.parametrize("parts", [[b"abcd"], [b"ab", b"cd"], [b"", b"abcd", b""], [b""]])
async def test_a_body_is_its_parts(parts: list[bytes]) -> None:
    """However it is cut, up to the limit."""
    assert await read_body(request(parts), 4) == b"".join(parts)


@pytest.mark.parametrize(
    ("parts", "headers"),
    [([b"abcde"], []), ([b"abc", b"de"], []), ([b""], [(b"x", b"y"), (b"content-length", b"5")])],
)
async def test_a_body_that_is_too_long(parts: list[bytes], headers: list[tuple[bytes, bytes]]) -> None:
    """By its length before any of it is sent, or as soon as it exceeds the limit."""
    with pytest.raises(TooLarge, match="longer than 4 bytes"):
        await read_body(request(parts, headers), 4)


@pytest.mark.parametrize("parts", [[None], [b"a", None]])
async def test_a_client_that_disconnects_in_its_body(parts: list[bytes | None]) -> None:
    """Half a body is none."""
    with pytest.raises(ClientGone):
        await read_body(request(parts), 4)


async def test_work_ends_with_its_client() -> None:
    """It is cancelled, and has cleaned up before the request ends."""
    cleaned: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    with pytest.raises(ClientGone):
        await while_connected(request([None]), work())
    assert cleaned == [True]


async def test_work_that_ends_first() -> None:
    """Its result or its error is the caller's, and nothing waits for the client any more."""

    async def work(*, fails: bool) -> int:
        await asyncio.sleep(0)
        if fails:
            raise ValueError("broken")
        return 7

    before = asyncio.all_tasks()
    assert await while_connected(request([]), work(fails=False)) == 7
    with pytest.raises(ValueError, match="broken"):
        await while_connected(request([]), work(fails=True))
    assert asyncio.all_tasks() == before


async def test_a_body_that_is_there_is_not_waited_for() -> None:
    """The server has put it into the scope; the limit holds all the same."""
    asked = request([None])
    scope: Any = asked.scope
    scope[WHOLE] = b"abcd"
    assert await read_body(asked, 4) == b"abcd"
    asked.scope["headers"] = [(b"content-length", b"4")]
    with pytest.raises(TooLarge, match="longer than 3 bytes"):
        await read_body(asked, 3)


async def test_an_answer_in_one_event() -> None:
    """For a server that takes it so, and says its length."""
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    answer: Any = Answer(Ok())
    await answer({WHOLE: b""}, None, send)
    headers = [(b"content-type", b"application/json")]
    assert sent == [{"type": "http.response.start", "status": 200, "headers": headers, "body": b'{"ok":true}'}]


async def test_an_answer_is_json_of_known_length() -> None:
    """With status 200 and the headers that are added."""
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    answer: Any = Answer(Ok(), ((b"x", b"y"),))
    await answer({}, None, send)
    start, body = sent
    assert (start["status"], body["body"]) == (200, b'{"ok":true}')
    assert start["headers"] == [(b"content-type", b"application/json"), (b"x", b"y"), (b"content-length", b"11")]
