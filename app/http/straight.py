"""A short way to the handlers that are called most, past the framework."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from app.http.body import Answer, Incoming
from app.http.errors import answer_to

__all__ = ["STRAIGHT", "Guard", "Straight"]

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]

# The `opt` of a route without parameters. Its handler takes only `request`, uses of it only what an `Incoming` has, and
# returns an `Answer`.
STRAIGHT: Final[Mapping[str, bool]] = {"straight": True}

# Litestar allows some more characters, which are rare, and answers 400 to all others.
_USUAL_HOST: Final = re.compile(rb"[0-9A-Za-z.:_-]*")


_Handle = Callable[[Incoming], Awaitable[Answer]]


class Straight:
    """Calls the handlers of those `routes` that are STRAIGHT, after `guards`, and passes all other requests to `app`.

    `app` has the same routes and guards, and would answer the same at several times the cost: other methods of a path
    and unusual Host headers are left to it.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[HTTPRouteHandler], guards: Sequence[Guard]) -> None:
        self._app = app
        self._guards = guards
        self._routes: dict[tuple[str, str], tuple[HTTPRouteHandler, _Handle]] = {
            (method, path): (route, route.fn)
            for route in routes
            if route.opt.get("straight")
            for path in route.paths
            for method in route.http_methods
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = None
        if scope["type"] == ScopeType.HTTP and _has_usual_host(scope):
            found = self._routes.get((scope["method"], scope["path"]))
        if found is None:
            await self._app(scope, receive, send)
            return
        route, handle = found
        scope["path_template"] = scope["path"]
        try:
            for guard in self._guards:
                await guard(ASGIConnection(scope, receive, send), route)
            answer = await handle(Incoming(scope, receive))
        except Exception as error:  # noqa: BLE001  # as Litestar does
            request = Request[Any, Any, Any](scope, receive, send)
            response = answer_to(request, error).to_asgi_response(app=None, request=request)
            await response(scope, receive, send)
        else:
            await answer(scope, receive, send)


def _has_usual_host(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"host":
            return _USUAL_HOST.fullmatch(value) is not None
    return False
