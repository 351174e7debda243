"""The outermost layer of a request: admit or refuse it, give it an id, time it and count it."""

import asyncio
import itertools
import logging
import re
import secrets
import time
from collections.abc import Awaitable
from typing import Any, Final, Literal

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from app.http.access import KEY_NAME
from app.http.draining import Draining
from app.http.errors import RETRY_SECONDS
from app.http.heads import by_name
from app.messages.basics import ErrorAnswer
from app.messages.personalizer import PREFIX, problem
from app.observe.logs import REQUEST_ID
from app.observe.metrics import Metrics

__all__ = ["Gate"]

_log: Final = logging.getLogger("oo.access")
_BUSY: Final = "too many requests at once"
_STOPPED: Final = "the service is shutting down"
_NO_ROUTE: Final = "Not Found"
_HTTP: Final = ScopeType.HTTP
_ALWAYS: Final = ("/health", "/metrics")
_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
# Named once: an annotation of a function within a function is made anew with each request.
_Sent = Awaitable[None]


class Gate:
    """Lets at most `most` requests through to `app` at once and answers the others 503 without reading their bodies.

    Probes always pass. `log` says which requests leave a line: all, those that fail, or none.
    """

    def __init__(
        self, app: ASGIApp, most: int, metrics: Metrics, draining: Draining, log: Literal["all", "errors", "off"]
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._draining = draining
        metrics.most = most
        self._logged_from = {"all": 0, "errors": 400, "off": 1_000}[log]
        self._replica = secrets.token_hex(6).encode()
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != _HTTP:
            await self._app(scope, receive, send)
            return
        # Undecoded: an id with a slash in it stays one part of the path, and the handler sees bytes that are not UTF-8.
        path = scope["path"] = scope["raw_path"].decode("latin-1")
        request_id = self._request_id(scope)
        REQUEST_ID.set(request_id.decode())
        started = time.perf_counter()
        status = 0

        def send_named(event: Message) -> _Sent:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
                event["headers"] = headers = [*event["headers"], (b"x-request-id", request_id)]
                if self._draining.begun:  # or a client's next request would meet a closed connection
                    headers.append((b"connection", b"close"))
            return send(event)

        metrics = self._metrics
        takes_place = not path.startswith(_ALWAYS)
        admitted = metrics.inside < metrics.most or not takes_place
        metrics.inside += takes_place
        try:
            if not admitted:
                await _refuse(send_named, scope["path"], _BUSY)
            else:
                app = _misspelt(path) if "//" in path or path[-1] == "/" else None
                await (app or self._app)(scope, receive, send_named)
        except asyncio.CancelledError:
            # uvicorn cancels requests when a stop has waited long enough for them, and would answer 500.
            if status:
                raise
            await _refuse(send_named, scope["path"], _STOPPED)
        finally:
            status = status or 500
            metrics.inside -= takes_place
            seconds = time.perf_counter() - started
            route = scope.get("path_template", "")
            metrics.answered(scope["method"], route, status, seconds)
            if not admitted:
                metrics.refused()
            if status >= self._logged_from:
                _log_request(scope, route, status, seconds)

    def _request_id(self, scope: HTTPScope) -> bytes:
        """The client's X-Request-ID if it is safe in a header and a log line, or a new one."""
        given = by_name(scope).get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        return b"%s-%x" % (self._replica, next(self._numbers))


def _log_request(scope: HTTPScope, route: str, status: int, seconds: float) -> None:
    line: dict[str, Any] = {
        "method": scope["method"],
        "route": route,
        "status": status,
        "ms": round(seconds * 1000, 2),
    }
    key = scope.get("state", {}).get(KEY_NAME)
    if key is not None:
        line["key"] = key
    _log.log(logging.WARNING if status >= 500 else logging.INFO, "request", extra=line)


async def _refuse(send: Send, path: str, detail: str) -> None:
    await _answer(send, 503, _told(path, "ServiceUnavailable", detail), (b"retry-after", b"%d" % RETRY_SECONDS))


def _misspelt(path: str) -> ASGIApp | None:
    """What answers a path that Litestar would take for another one: a proxy's rule for that one would not apply."""
    if "//" in path:
        return _no_route
    return _without_slash if path[-1] == "/" and path != "/" else None


async def _no_route(scope: Scope, __: Receive, send: Send) -> None:
    await _answer(send, 404, _told(scope["path"], "ResourceNotFound", _NO_ROUTE))


def _told(path: str, code: str, detail: str) -> bytes:
    """The body of an error; Azure Personalizer's clients read another than others do."""
    return problem(code, detail) if path.startswith(PREFIX) else msgspec.json.encode(ErrorAnswer(detail))


async def _without_slash(scope: Scope, __: Receive, send: Send) -> None:
    """Redirect to the path without its last slash. The address is relative: a proxy may have removed a prefix."""
    last = scope["path"].split("/")[-2]
    query = scope.get("query_string", b"")
    location = f"../{last}".encode("latin-1") + (b"?" + query if query else b"")
    await _answer(send, 307, b"", (b"location", location))


async def _answer(send: Send, status: int, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
