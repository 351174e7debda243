"""The first and last code a request meets: too many are refused at once, and paths are taken as they were sent."""

from typing import Final

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from app.errors import RETRY_SECONDS
from app.schemas import ErrorAnswer

__all__ = ["Gate"]

_BUSY: Final = msgspec.json.encode(ErrorAnswer("too many requests at once"))
_ALWAYS: Final = ("/health",)


class Gate:
    """Lets at most `most` requests through to `app` at once; those after it are answered 503 before anything of them is
    read. Probes always pass."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        # Undecoded: an id with a slash in it is still one part of the path, and the handler sees what is not UTF-8.
        scope["path"] = scope["raw_path"].decode("latin-1")
        if self._inside >= self._most and not scope["path"].startswith(_ALWAYS):
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(_BUSY)),
                (b"retry-after", b"%d" % RETRY_SECONDS),
            ]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": _BUSY, "more_body": False})
            return
        self._inside += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside -= 1
