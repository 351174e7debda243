"""An httpx transport with a connection for each call in flight, for callers that bound the calls themselves."""

import ssl
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import httpx

__all__ = ["Connections"]

# As long as httpx would use one again; after that it only takes room here, and at a proxy that may have left it.
IDLE_SECONDS: Final = 5.0


class Connections(httpx.AsyncBaseTransport):
    """A connection for each call in flight, the one used last first.

    httpx's pool compares all of its idle connections whenever a call begins or ends, which takes a third of the
    processor time of a call when there are 32. How many there can be, the caller bounds.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._all: set[httpx.AsyncHTTPTransport] = set()
        # With the time of its last use, the latest at the end.
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
    """An answer's body; its connection is idle again when it is closed."""

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
