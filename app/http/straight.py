"""A short way to the handlers that are called most, past the framework."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.enums import ScopeType
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from app.http.body import Answer, Incoming
from app.http.errors import answer_to
from app.http.heads import by_name

__all__ = ["STRAIGHT", "Guard", "Straight"]

Guard = Callable[[Incoming, BaseRouteHandler], Awaitable[None]]

# The `opt` of a route whose path has at most one parameter: text, as its part before the last. Its handler takes only
# `request` and that, in this order, uses of `request` only what an `Incoming` has, and returns an `Answer`.
STRAIGHT: Final[Mapping[str, bool]] = {"straight": True}

_HTTP: Final = ScopeType.HTTP
# Litestar allows some more characters, which are rare, and answers 400 to all others.
_USUAL_HOST: Final = re.compile(rb"[0-9A-Za-z.:_-]*")
_PARAMETER: Final = re.compile(r"(?P<before>/[a-z/]+)/\{(?P<name>[a-z_]+):str\}/(?P<after>[a-z]+)")


class _Found(msgspec.Struct, frozen=True):
    """A route, its handler, and the template of its path."""

    route: HTTPRouteHandler
    handle: Callable[..., Awaitable[Answer]]
    template: str


class Straight:
    """Calls the handlers of those `routes` that are STRAIGHT, after `guards`, and passes all other requests to `app`.

    `app` has the same routes and guards, and would answer the same at several times the cost: other methods of a path
    and unusual Host headers are left to it.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[HTTPRouteHandler], guards: Sequence[Guard]) -> None:
        self._app = app
        self._guards = guards
        self._routes: dict[tuple[str, str], _Found] = {}
        # By method, what is before the parameter, and what is after it.
        self._with_parameter: dict[tuple[str, str, str], _Found] = {}
        for route in routes:
            for path in route.paths if route.opt.get("straight") else ():
                for method in route.http_methods:
                    self._add(route, method, path)

    def _add(self, route: HTTPRouteHandler, method: str, path: str) -> None:
        found = _PARAMETER.fullmatch(path)
        if found is None:
            self._routes[method, path] = _Found(route, route.fn, path)
        else:
            template = f"{found['before']}/{{{found['name']}}}/{found['after']}"
            self._with_parameter[method, found["before"], found["after"]] = _Found(route, route.fn, template)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found: _Found | None = None
        given: tuple[str, ...] = ()
        if scope["type"] == _HTTP and _USUAL_HOST.fullmatch(by_name(scope).get(b"host", b" ")):
            method, path = scope["method"], scope["path"]
            found = self._routes.get((method, path))
            if found is None and len(parts := path.rsplit("/", 2)) == 3 and parts[1]:
                before, parameter, after = parts
                found, given = self._with_parameter.get((method, before, after)), (parameter,)
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["path_template"] = found.template
        incoming = Incoming(scope, receive)
        try:
            for guard in self._guards:
                await guard(incoming, found.route)
            answer = await found.handle(incoming, *given)
        except Exception as error:  # noqa: BLE001  # as Litestar does
            request = Request[Any, Any, Any](scope, receive, send)
            response = answer_to(request, error).to_asgi_response(app=None, request=request)
            await response(scope, receive, send)
        else:
            await answer(scope, receive, send)
