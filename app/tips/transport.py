"""An httpx transport with one connection for each call in flight, for callers that bound their calls themselves.

It replaces the pool of httpx 0.28 (httpcore 1.0), which goes through all of its connections whenever a call begins or
ends: a third of a call's processor time when there are 32. It can go if a release of httpcore with
https://github.com/encode/httpcore/pull/1035 is fast enough.
"""

import ssl
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import httpx

__all__ = ["Connections"]

# As long as httpx keeps an idle connection.
IDLE_SECONDS: Final = 5.0


class Connections(httpx.AsyncBaseTransport):
    """One connection for each call in flight; the one used last is used first. Idle ones are closed by later calls."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._all: set[httpx.AsyncHTTPTransport] = set()
        # Each with the time of its last use, the latest at the end.
        self._idle: list[tuple[httpx.AsyncHTTPTransport, float]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self._close_idle()
        if self._idle:
            connection, _ = self._idle.pop()
        else:
            connection = httpx.AsyncHTTPTransport(
                verify=self._tls, trust_env=False, limits=httpx.Limits(max_connections=1)
            )
            self._all.add(connection)
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            self._free(connection)
            raise
        response.stream = _Body(response.stream, lambda: self._free(connection))
        return response

    def _free(self, connection: httpx.AsyncHTTPTransport) -> None:
        self._idle.append((connection, time.monotonic()))

    async def _close_idle(self) -> None:
        while self._idle and self._idle[0][1] < time.monotonic() - IDLE_SECONDS:
            connection, _ = self._idle.pop(0)
            self._all.discard(connection)
            await connection.aclose()

    async def aclose(self) -> None:
        for connection in tuple(self._all):
            await connection.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of an answer; closing it makes the connection idle."""

    def __init__(self, body: Any, free: Callable[[], None]) -> None:
        self._body = body
        self._free = free

    def __aiter__(self) -> AsyncIterator[bytes]:
        chunks: AsyncIterator[bytes] = self._body.__aiter__()
        return chunks

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            self._free()
