"""Dead letters: their headers and body, how they are cut, and how old they are when they come again."""

from datetime import UTC, datetime

import nats.errors
import pytest

from app.events.dead_letters import dead_letter, publish, stored_at
from tests.unit.app.events.fakes import FakeClient, event

pytestmark = pytest.mark.anyio

AT = 1_700_000_000.25


def test_headers_and_body() -> None:
    """What became of the event, and its own headers; those that NATS acts on are renamed."""
    own = {"Trace": "t", "Nats-Msg-Id": "m", "Status": "503", "Description": "d", "a b": "no token", "dlq-cut": "x"}
    msg = event(FakeClient(), b"body", delivered=3, sequence=7, stored=AT, headers=own)
    headers, body = dead_letter(msg, "failed\n  at ü", 1_000, {"traceparent": "00-1"})
    assert body == b"body"
    assert headers == {
        "Trace": "t",
        "Original-Nats-Msg-Id": "m",
        "Original-Status": "503",
        "Original-Description": "d",
        "dlq-cut": "x",
        "traceparent": "00-1",
        "Dlq-Reason": "failed at \\xfc",
        "Dlq-Stream": "S",
        "Dlq-Sequence": "7",
        "Dlq-Delivered": "3",
        "Dlq-Stored-At": "2023-11-14T22:13:20.250000Z",
        "Nats-Msg-Id": "dlq.S.7.1700000000.250000",
    }


@pytest.mark.parametrize("size", [600, 5_000])
def test_cut_to_what_the_server_takes(size: int) -> None:
    """Without room for all, the event's own headers are left out and the end of the body is cut."""
    msg = event(FakeClient(), b"x" * size, headers={"Long": "h" * 600})
    headers, body = dead_letter(msg, "too large", 1_000)
    assert "Long" not in headers
    assert headers["Dlq-Cut"] == f"headers left out; the body had {size} bytes"
    on_the_wire = len("NATS/1.0\r\n\r\n") + sum(len(f"{name}: {value}\r\n") for name, value in headers.items())
    assert on_the_wire + len(body) == min(1_000, on_the_wire + size)


def test_long_reasons_are_cut() -> None:
    """A header has no more than 500 characters of it."""
    headers, _ = dead_letter(event(FakeClient()), "x" * 9_999, 10_000)
    assert headers["Dlq-Reason"] == "x" * 500


@pytest.mark.parametrize(
    ("header", "time"),
    [
        (None, AT),
        ("", AT),
        ("yesterday", AT),
        ("2999-01-01T00:00:00.000000Z", AT),
        ("0001-01-01T00:00:00.000000Z", 0.0),
        ("2023-11-14T22:13:20.125000Z", AT - 0.125),
    ],
)
def test_stored_at(header: str | None, time: float) -> None:
    """The time of the header, between 1970 and the time of the stream; else that of the stream."""
    msg = event(FakeClient(), stored=AT, headers=None if header is None else {"Dlq-Stored-At": header})
    assert stored_at(msg) == datetime.fromtimestamp(time, UTC)


async def test_published() -> None:
    """The stream's acknowledgement is waited for."""
    client = FakeClient()
    await publish(client.real, "dlq.a", {"h": "v"}, b"body")
    assert client.requests == [("dlq.a", b"body", {"h": "v"})]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b'{"error": {"description": "maximum messages exceeded"}}', "refused: maximum messages exceeded"),
        (b'{"stream": "dlq"}', "refused: None"),
        (b"+OK", "malformed"),
        (b"", "truncated"),
    ],
)
async def test_not_published(reply: bytes, error: str) -> None:
    """Anything but a stream's acknowledgement is an error: another subscriber may answer too."""
    client = FakeClient(lambda _subject, _body: reply)
    with pytest.raises((nats.errors.Error, ValueError), match=error):
        await publish(client.real, "dlq.a", {}, b"")
