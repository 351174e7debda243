"""How bytes become requests: one at a time, however they are cut, within bounds."""

import asyncio

import pytest

from tests.unit.app.http.wire import CHUNKED, GET, POST, wired

pytestmark = pytest.mark.anyio

EMPTY = "the empty lines before the request are longer than 1024 bytes"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 40, 10_000])
async def test_requests_are_read_however_they_are_cut(size: int) -> None:
    """Bodies of known length, chunked bodies with a trailer and requests without a body, one after another."""
    data = POST + b"abc" + CHUNKED + b"1\r\nx\r\n2\r\nyz\r\n0\r\nt: 1\r\n\r\n" + b"\r\n\r\n" + GET
    async with wired() as wire:
        for at in range(0, len(data), size):
            wire.send(data[at : at + size])
        await wire.settle()
        assert wire.seen == [("POST", "/a", b"abc"), ("POST", "/a", b"xyz"), ("GET", "/a", b"")]
        assert wire.transport.written.count(b"200 OK") == 3
        assert not wire.transport.is_closing()


async def test_the_next_request_waits_for_the_answer() -> None:
    """It is not even parsed before."""
    async with wired() as wire:
        wire.send(POST + b"abc" + GET * 3)
        assert len(wire.state.tasks) == 1
        await wire.settle()
        assert len(wire.seen) == 4


async def test_reading_pauses_when_too_much_waits() -> None:
    """More than 16 KiB behind an answer stops reading, until that has been given."""
    async with wired() as wire:
        wire.send(GET)
        wire.send(GET * 800)
        assert wire.transport.calls == ["pause"]
        wire.transport.calls.clear()
        await wire.settle()
        assert len(wire.seen) == 801
        assert wire.transport.calls[-1] == "resume"


async def test_one_turn_does_a_bounded_amount_of_work() -> None:
    """A body of very many chunks is parsed over several turns, and read whole."""
    async with wired() as wire:
        wire.send(CHUNKED + b"1\r\nx\r\n" * 2_000 + b"0\r\n\r\n")
        assert wire.state.tasks
        assert wire.protocol.held
        await wire.settle()
        assert [len(body) for _, _, body in wire.seen] == [2_000]
        assert not wire.protocol.held


@pytest.mark.parametrize("cut", [1, 3])
async def test_an_early_answer_is_not_lost(cut: int) -> None:
    """Whoever sends a body that is too large and then reads the answer would find the connection reset."""
    async with wired() as wire:
        data = POST.replace(b"host", b"connection: close\r\nhost") + b"abc"
        wire.send(data[:-cut])
        cycle = wire.protocol.cycle
        await cycle.send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
        await cycle.send({"type": "http.response.body"})
        assert b"413" in wire.transport.written
        assert not wire.transport.is_closing()
        wire.send(data[-cut:])
        assert wire.transport.is_closing()


async def test_an_offered_upgrade_is_ignored() -> None:
    """The body belongs to the request that offers it, and is not the next request."""
    upgrade = POST.replace(b"host", b"connection: upgrade\r\nupgrade: h2c\r\nhost")
    async with wired() as wire:
        wire.send(upgrade + b"abc")
        await wire.settle()
        assert wire.seen == [("POST", "/a", b"abc")]
        wire.send(GET)
        await wire.settle()
        assert wire.seen[1:] == [("GET", "/a", b"")]


@pytest.mark.parametrize(
    ("sent", "status", "detail"),
    [
        (b"hello\r\n\r\n", 400, "the request is not HTTP"),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", 400, "the service is not a proxy"),
        (GET.replace(b"host", b"x: y\r\nhosts"), 400, "a request needs exactly one Host header"),
        (GET[:-2] + b"x: y\r\n" * 129, 431, "there are more than 128 headers"),
        (GET[:-2] + b"x: " + b"y" * 70_000, 431, "the headers are longer than 65536 bytes"),
        (b"\r\n" * 513, 400, EMPTY),
        (b"\n" * 1_025 + GET, 400, EMPTY),
        (
            CHUNKED + b"1;" + b"e" * 70_000,
            431,
            "the trailers and chunk extensions are longer than 65536 bytes",
        ),
    ],
)
async def test_what_is_refused(sent: bytes, status: int, detail: str) -> None:
    """It is answered in JSON, the application never sees it, and the connection ends."""
    async with wired() as wire:
        wire.send(sent)
        await wire.settle()
        assert wire.refusal() == (status, detail)
        assert wire.seen == []


async def test_chunks_of_one_byte_are_not_taken_for_headers() -> None:
    """What stands around chunks may be eight bytes for each byte in them."""
    async with wired() as wire:
        wire.send(CHUNKED)
        for _ in range(50):
            wire.send(b"1\r\nx\r\n" * 500)
            await asyncio.sleep(0)
        wire.send(b"0\r\n\r\n")
        await wire.settle()
        assert [len(body) for _, _, body in wire.seen] == [25_000]


@pytest.mark.parametrize("size", [1, 1_000, 10_000])
async def test_empty_lines_are_counted_before_each_request(size: int) -> None:
    """However they are cut: 1 KiB before each is passed over, and one byte more is refused."""
    lines = b"\r\n" * 512
    data = lines + POST + b"abc" + lines + CHUNKED + b"1\r\nx\r\n0\r\n\r\n" + lines
    async with wired() as wire:
        for at in range(0, len(data), size):
            wire.send(data[at : at + size])
        await wire.settle()
        assert [body for _, _, body in wire.seen] == [b"abc", b"x"]
        assert not wire.transport.is_closing()
        wire.send(b"\n")
        assert wire.transport.is_closing()
        assert wire.transport.written.endswith(EMPTY.encode() + b'"}')


async def test_a_head_that_came_before() -> None:
    """It is not parsed again, says the same, and ends the count of empty lines like any other."""
    data = POST.replace(b"host: x", b"host: again") + b"abc"
    async with wired() as wire:
        for _ in range(5):
            wire.send(b"\r\n" * 200)
            wire.send(data)
            await wire.settle()
        assert wire.seen == [("POST", "/a", b"abc")] * 5
        assert not wire.transport.is_closing()
        wire.protocol.parser = None  # type: ignore[assignment]  # nothing asks it
        wire.send(data)
        await wire.settle()
        assert len(wire.seen) == 6


async def test_a_head_that_came_before_with_other_targets() -> None:
    """It is not parsed again, and says the new one; nor does a body that has not arrived wholly disturb it."""
    async with wired() as wire:

        async def ask(target: bytes, cut: int) -> None:
            data = POST.replace(b"/a", target).replace(b"host: x", b"host: another") + b"abc"
            for part in (data[:cut], data[cut:]):
                wire.send(part)
            await wire.settle()

        for target in (b"/a/1", b"/a/2"):
            await ask(target, 1_000)
        await ask(b"/a/3", -2)
        wire.protocol.parser = None  # type: ignore[assignment]  # nothing asks it
        await ask(b"/a/4.~x", 1_000)
        assert wire.seen == [("POST", path, b"abc") for path in ("/a/1", "/a/2", "/a/3", "/a/4.~x")]


async def test_empty_lines_wait_behind_an_answer() -> None:
    """What comes meanwhile is kept within the bound of what waits, and refused when the answer is complete."""
    async with wired() as wire:
        wire.send(GET)
        wire.send(b"\r\n" * 10_000)
        assert wire.transport.calls == ["pause"]
        await wire.settle()
        assert len(wire.seen) == 1
        assert wire.transport.written.endswith(EMPTY.encode() + b'"}')
        assert wire.transport.is_closing()
