"""A stand-in for the LiteLLM proxy: a real HTTP server in the test's own event loop that answers as it is told.

What it was asked, how many connections came and which of them their clients left is recorded.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

__all__ = ["Asked", "StandIn", "completion", "http", "stand_in"]


class Asked(msgspec.Struct, frozen=True):
    """One request: its headers with names in lower case, and its JSON."""

    line: str
    headers: dict[str, str]
    body: Any


Answer = Callable[[Asked], Awaitable[bytes]]


class StandIn:
    """`url` for LITELLM_URL; `left` is set when a client goes away before its answer."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.connections = 0
        self.at_once = 0
        self.most_at_once = 0
        self.left = asyncio.Event()
        self.url = ""
        self._open: dict[asyncio.StreamWriter, asyncio.Event] = {}

    @property
    def open(self) -> int:
        """How many connections there are now."""
        return len(self._open)

    async def close(self) -> None:
        """Break every connection that is still open."""
        for writer, ended in list(self._open.items()):
            writer.transport.abort()
            await ended.wait()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = self._open[writer] = asyncio.Event()
        try:
            await self.serve(reader, writer)
        finally:
            del self._open[writer]
            ended.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer request after request on one connection; an empty answer closes it."""
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *rows = head.rstrip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (row.partition(": ") for row in rows)}
                body = await reader.readexactly(int(headers["content-length"]))
                asked = Asked(line, headers, msgspec.json.decode(body))
                self.asked.append(asked)
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                try:
                    answer = await self._unless_left(reader, asked)
                finally:
                    self.at_once -= 1
                if not answer:
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()

    async def _unless_left(self, reader: asyncio.StreamReader, asked: Asked) -> bytes:
        answer = asyncio.ensure_future(self.answer(asked))
        more = asyncio.ensure_future(reader.read(1))
        done, _ = await asyncio.wait({answer, more}, return_when=asyncio.FIRST_COMPLETED)
        for task in (answer, more):
            task.cancel()
        await asyncio.wait({answer, more})
        if answer in done:
            return answer.result()
        self.left.set()
        return b""


@asynccontextmanager
async def stand_in(answer: Answer, host: str = "127.0.0.1") -> AsyncIterator[StandIn]:
    """A server on a free port of `host` that gives `answer(request)`, the bytes of an HTTP response."""
    made = StandIn(answer)
    server = await asyncio.start_server(made.accept, host, 0)
    made.url = f"http://{f'[{host}]' if ':' in host else host}:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await made.close()


def http(body: bytes, status: str = "200 OK", headers: str = "Content-Type: application/json") -> bytes:
    """An HTTP response with this body."""
    return f"HTTP/1.1 {status}\r\n{headers}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def completion(content: str | None, tokens: tuple[int, int] = (10, 5), model: str = "gpt-stand-in") -> bytes:
    """The JSON of a chat completion whose message has this content."""
    return msgspec.json.encode(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": model,
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
            "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
        }
    )
