"""GET /schema, GET /schema/openapi.json, and GET /, which redirects to the former."""

import functools
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import HttpMethod, Request, Response, route
from litestar.handlers import HTTPRouteHandler

from app.http.headers import prefix
from app.reference.openapi import JSON, document
from app.reference.page import POLICY, render

__all__ = ["schema_routes"]

_ASKED: Final = (HttpMethod.GET, HttpMethod.HEAD)
# One service is published under few prefixes at a time.
_PREFIXES: Final = 8


def schema_routes(others: Sequence[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """The reference of `others` and of itself, as a page and as a document, made when it is first asked for."""

    @functools.lru_cache(_PREFIXES)
    def shown(root: str) -> dict[str, Any]:
        return document([*others, page, raw], root)

    @functools.lru_cache(_PREFIXES)
    def encoded(root: str) -> bytes:
        return msgspec.json.encode(shown(root))

    @functools.lru_cache(_PREFIXES)
    def rendered(root: str) -> str:
        return render(shown(root))

    @route("/schema", http_method=_ASKED, sync_to_thread=False)
    def page(request: Request[Any, Any, Any]) -> Response[str]:
        headers = {"Content-Security-Policy": POLICY}
        return Response(rendered(prefix(request)), media_type="text/html", headers=headers)

    @route("/schema/openapi.json", http_method=_ASKED, sync_to_thread=False)
    def raw(request: Request[Any, Any, Any]) -> Response[bytes]:
        return Response(encoded(prefix(request)), media_type=JSON)

    # Relative unless the prefix is known: a proxy may have removed one.
    @route("/", http_method=_ASKED, status_code=307, sync_to_thread=False)
    def front(request: Request[Any, Any, Any]) -> Response[bytes]:
        root = prefix(request)
        headers = {"Location": f"{root}/schema" if root else "schema"}
        return Response(b"", status_code=307, media_type="text/plain", headers=headers)

    return [page, raw, front]
