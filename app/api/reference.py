"""GET /schema, GET /schema/openapi.json, and GET /, which redirects to the former."""

import functools
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import HttpMethod, Response, route
from litestar.handlers import HTTPRouteHandler

from app.reference.openapi import JSON, document
from app.reference.page import POLICY, render

__all__ = ["schema_routes"]

_ASKED: Final = (HttpMethod.GET, HttpMethod.HEAD)


def schema_routes(others: Sequence[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """The reference of `others` and of itself, as a page and as a document, made when it is first asked for."""

    @functools.cache
    def shown() -> dict[str, Any]:
        return document([*others, page, raw])

    @functools.cache
    def encoded() -> bytes:
        return msgspec.json.encode(shown())

    @functools.cache
    def rendered() -> str:
        return render(shown())

    @route("/schema", http_method=_ASKED, sync_to_thread=False)
    def page() -> Response[str]:
        return Response(rendered(), media_type="text/html", headers={"Content-Security-Policy": POLICY})

    @route("/schema/openapi.json", http_method=_ASKED, sync_to_thread=False)
    def raw() -> Response[bytes]:
        return Response(encoded(), media_type=JSON)

    # A relative address: a proxy may have removed a prefix.
    @route("/", http_method=_ASKED, status_code=307, sync_to_thread=False)
    def front() -> Response[bytes]:
        return Response(b"", status_code=307, media_type="text/plain", headers={"Location": "schema"})

    return [page, raw, front]
