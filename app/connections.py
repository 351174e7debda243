"""An httpx transport with a connection for each call in flight, for callers that bound the calls themselves."""

import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx

__all__ = ["Connections"]


class Connections(httpx.AsyncBaseTransport):
    """A connection for each call in flight, the one used last first.

    httpx's pool compares all of its idle connections whenever a call begins or ends, which takes a third of the
    processor time of a call when there are 32. How many there can be, the caller bounds.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._all: list[httpx.AsyncHTTPTransport] = []
        self._idle: list[httpx.AsyncHTTPTransport] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self._idle:
            made = httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=httpx.Limits(max_connections=1))
            self._all.append(made)
            self._idle.append(made)
        connection = self._idle.pop()
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            self._idle.append(connection)
            raise
        response.stream = _Body(response.stream, connection, self._idle)
        return response

    async def aclose(self) -> None:
        for connection in self._all:
            await connection.aclose()


class _Body(httpx.AsyncByteStream):
    """An answer's body; its connection is idle again when it is closed."""

    def __init__(self, body: Any, connection: httpx.AsyncHTTPTransport, idle: list[httpx.AsyncHTTPTransport]) -> None:
        self._body = body
        self._connection = connection
        self._idle = idle

    def __aiter__(self) -> AsyncIterator[bytes]:
        chunks: AsyncIterator[bytes] = self._body.__aiter__()
        return chunks

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            self._idle.append(self._connection)
