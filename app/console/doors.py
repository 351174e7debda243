"""Who looks at the console: sessions that begin with an API key, and forms that come from the console itself."""

import hashlib
import logging
import secrets
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from litestar import Request
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException

from app.console import session
from app.http.access import CHALLENGE, KEY_NAME, Access
from app.http.api_keys import Key
from state.errors import StoreUnavailable
from state.shared import Shared

__all__ = ["Doors", "check_origin"]

# Without a Path: the browser takes that of the page that set it, whatever prefix a proxy has put before it.
_COOKIE: Final = "oo_console"
_ATTRIBUTES: Final = "HttpOnly; SameSite=Strict"
_LONGEST: Final = 4_096
_SECRET_BYTES: Final = 32
# A stranger's cookie does not cost a look at Redis.
_LOOK_SECONDS: Final = 30.0
_log: Final = logging.getLogger("oo.access")


class Doors:
    """Lets people in who have a key of `access`. `shared` has the secret of sessions, which all replicas share.

    `clock` gives Unix seconds.
    """

    def __init__(self, access: Access, shared: Shared, clock: Callable[[], float]) -> None:
        self._access = access
        self._shared = shared
        self._secret = b""
        self._read_at = 0.0
        self.clock = clock

    @property
    def is_open(self) -> bool:
        """Whether no keys are set, so that every request is allowed."""
        return self._access.is_open

    async def visitor(self, request: Request[Any, Any, Any]) -> Key | None:
        """The key of the session of a request, if there is one, which counts as a request with that key.

        Raises TooManyRequestsException, and StoreUnavailable if the secret was never read.
        """
        cookie = _cookie(request)
        if not cookie:
            return None
        key = session.holder(self._access.keys, await self._current_secret(), cookie, self.clock())
        if key is not None:
            request.scope["state"][KEY_NAME] = key.name
            await self._access.limit(key)
        return key

    async def begin(self, request: Request[Any, Any, Any], token: str) -> str:
        """The header Set-Cookie for the owner of this API key.

        Raises NotAuthorizedException if it is none, PermissionDeniedException for that of a client,
        TooManyRequestsException, and StoreUnavailable.
        """
        key = self._access.find(hashlib.sha256(token.strip().encode()).digest())
        if key is None:
            raise NotAuthorizedException("the service does not know this key", headers=CHALLENGE)
        request.scope["state"][KEY_NAME] = key.name
        await self._access.limit(key)
        if key.role == "client":
            raise PermissionDeniedException("this key is a client's: the console takes one of a reader or an admin")
        _log.info("%s signed in to the console", key.name)
        cookie = session.cookie_of(key, await self._current_secret(), self.clock())
        return f"{_COOKIE}={cookie}; Max-Age={session.SECONDS}; {_ATTRIBUTES}{_secure(request)}"

    def end(self, request: Request[Any, Any, Any]) -> str:
        """The header Set-Cookie that has a browser forget its session."""
        return f"{_COOKIE}=; Max-Age=0; {_ATTRIBUTES}{_secure(request)}"

    async def _current_secret(self) -> bytes:
        """The secret in Redis, as it was not long ago; while Redis is away, the last one that was there."""
        now = self.clock()
        if not (self._secret and 0 <= now - self._read_at < _LOOK_SECONDS):
            try:
                self._secret = await self._shared.console_secret(secrets.token_bytes(_SECRET_BYTES))
                self._read_at = now
            except StoreUnavailable:
                if not self._secret:
                    raise
        return self._secret


def check_origin(request: Request[Any, Any, Any]) -> None:
    """Raise PermissionDeniedException unless a form was sent by a page of this service.

    Browsers say so in Sec-Fetch-Site where they trust the connection, and elsewhere name the Origin.
    """
    site = request.headers.get("sec-fetch-site")
    origin = urlsplit(request.headers.get("origin", ""))
    named = bool(origin.netloc) and origin.netloc == request.headers.get("host")
    if not (named if site is None else site == "same-origin"):
        hint = "" if site is not None else "; if it was, a proxy on the way has changed the header Host"
        raise PermissionDeniedException(f"this form was not sent by the console{hint}")


def _cookie(request: Request[Any, Any, Any]) -> str:
    for part in request.headers.get("cookie", "")[:_LONGEST].split(";"):
        name, _, value = part.strip().partition("=")
        if name == _COOKIE:
            return value
    return ""


def _secure(request: Request[Any, Any, Any]) -> str:
    """Whether the browser came by https, also where a proxy ends it: the browser says so in Origin."""
    came = request.headers.get("origin", "")
    return "; Secure" if came.startswith("https://") or request.scope["scheme"] == "https" else ""
