"""Request headers that change what a request means, and the prefix under which a proxy publishes the service."""

import functools
import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Any, Final

from litestar import Request
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from app.http.heads import by_name
from app.messages.personalizer import PREFIX
from app.messages.reading import Unreadable
from app.settings import ROOT_PATH, Settings, SettingsError

__all__ = ["REPLAYED", "Prefixed", "idempotency_key", "named_state", "prefix"]

REPLAYED: Final = ((b"idempotent-replayed", b"true"),)
_IDEMPOTENCY_KEY: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_STATE: Final = re.compile(rb'"?([0-9]{1,15})"?')
_PREFIX: Final = re.compile(ROOT_PATH.encode())
# Under this name the state of a request holds its prefix.
_NAME: Final = "prefix"
_MOST_PROXIES: Final = 64
# Addresses of proxies that are remembered: reading one costs more than the rest of a prefix.
_PEERS: Final = 256


def idempotency_key(request: Request[Any, Any, Any]) -> str | None:
    """The header Idempotency-Key. Raises Unreadable unless it is 1 to 128 visible ASCII characters, given once."""
    if b"idempotency-key" not in by_name(request.scope):
        return None
    values = [value for name, value in request.scope["headers"] if name == b"idempotency-key"]
    if len(values) > 1 or not _IDEMPOTENCY_KEY.fullmatch(values[0]):
        raise Unreadable("the header Idempotency-Key must be 1 to 128 visible ASCII characters, given once")
    return values[0].decode()


def named_state(request: Request[Any, Any, Any]) -> int:
    """The number in the header If-Match. Raises HTTPException: 428 without one, 412 if it is not a number."""
    values = [value for name, value in request.scope["headers"] if name == b"if-match"]
    if not values:
        raise HTTPException(status_code=428, detail='say the state that you saw: If-Match: "7"')
    found = _STATE.fullmatch(values[0])
    if len(values) > 1 or found is None:
        raise HTTPException(status_code=412, detail='If-Match: takes the number of one state, such as "7"')
    return int(found[1])


def prefix(request: Request[Any, Any, Any]) -> str:
    """What stands before the paths of the service for the sender of this request: "" or "/a/b"."""
    found: str = request.scope.get("state", {}).get(_NAME, "")
    return found


class Prefixed:
    """Serves `app` under ROOT_PATH, or under what the X-Forwarded-Prefix of one of the TRUSTED_PROXIES says.

    A path that begins with ROOT_PATH loses it; others are served as they are, since probes come past the proxy. A proxy
    that sends the header has removed the prefix: there, a path has one spelling. Raises SettingsError if ROOT_PATH
    begins like one of `routes`: a path could be meant in two ways.
    """

    def __init__(self, app: ASGIApp, settings: Settings, routes: Iterable[HTTPRouteHandler]) -> None:
        self._app = app
        self._root = settings.root_path
        self._trusted = tuple(_network(text) for text in settings.trusted_proxies.split(",") if text.strip())
        if len(self._trusted) > _MOST_PROXIES:
            raise SettingsError(f"TRUSTED_PROXIES: takes at most {_MOST_PROXIES} addresses and networks")
        taken = {path.split("/")[1] for path in (PREFIX, *(path for route in routes for path in route.paths))}
        if self._root and self._root.split("/")[1] in taken:
            raise SettingsError(f"ROOT_PATH: {self._root} begins like a path of the service; take another")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            forwarded = self._forwarded(scope)
            if forwarded is None:
                path = scope["raw_path"].decode("latin-1")
                if f"{path}/".startswith(f"{self._root}/"):
                    scope["path"] = path[len(self._root) :] or "/"
                    scope["raw_path"] = scope["path"].encode("latin-1")
            scope.setdefault("state", {})[_NAME] = self._root if forwarded is None else forwarded
        await self._app(scope, receive, send)

    def _forwarded(self, scope: HTTPScope) -> str | None:
        """The prefix that a trusted proxy says it removed; None without one, or with one that is not a path."""
        values = [value.rstrip(b"/") for name, value in scope["headers"] if name == b"x-forwarded-prefix"]
        if len(values) != 1 or not _PREFIX.fullmatch(values[0]) or not _is_in(scope["client"], self._trusted):
            return None
        return values[0].decode()


def _is_in(peer: tuple[str, int] | None, networks: tuple[Any, ...]) -> bool:
    return peer is not None and _is_address_in(peer[0], networks)


@functools.lru_cache(_PEERS)
def _is_address_in(text: str, networks: tuple[Any, ...]) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return any(address in network for network in networks)


def _network(text: str) -> Any:
    try:
        return ip_network(text.strip())
    except ValueError:
        raise SettingsError(
            f"TRUSTED_PROXIES: takes addresses and networks such as 10.0.0.0/8 and fd00::1, separated by commas, "
            f"not {text.strip()!r}"
        ) from None
