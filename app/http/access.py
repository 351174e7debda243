"""Who may call what: keys with roles, known by their SHA-256 alone.

A client scores, rewards and generates; a reader reads statistics and history; an admin resets and erases. Without any
key the service is open to everyone.
"""

import asyncio
import hmac
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException, TooManyRequestsException
from litestar.handlers import BaseRouteHandler

from app.http.api_keys import Key, Role, bearer_digest, read_keys
from app.settings import SettingsError
from state import keys
from state.errors import StoreError
from state.store import Store

__all__ = ["ADMIN", "CHALLENGE", "CLIENT", "KEY_NAME", "READER", "Access"]

_log: Final = logging.getLogger("oo.access")


# What a route's `opt` says of who may call it; a route that says nothing is open to everyone.
CLIENT: Final[Mapping[str, Role]] = {"role": "client"}
READER: Final[Mapping[str, Role]] = {"role": "reader"}
ADMIN: Final[Mapping[str, Role]] = {"role": "admin"}


# Longer than this nobody waits to learn whether he asks too often.
_LIMIT_SECONDS: Final = 0.25


# Where the state of a request holds the name of the key it came with.
KEY_NAME: Final = "key_name"


# What a 401 says of how to do better.
CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}


class Access:
    """Asks every route's caller for a key with the role that the route wants, and counts its requests.

    `setting` is API_KEYS, `per_second` how many requests a key may send (0: any number), `on_unknown` is called when
    Redis could not tell how many it sent. Raises SettingsError.
    """

    def __init__(self, setting: str, store: Store, per_second: int, on_unknown: Callable[[], None]) -> None:
        self._setting = setting
        self._keys = read_keys(setting)
        self._store = store
        self._per_second = per_second
        self._on_unknown = on_unknown

    @property
    def is_open(self) -> bool:
        return not self._setting

    def say_if_nobody_is_let_in(self) -> None:
        if not self._keys and not self.is_open:
            _log.warning("API_KEYS has 0 keys: everyone is answered 401")

    def read_again(self) -> None:
        """Take over what API_KEYS says now; what cannot be read changes nothing."""
        try:
            self._keys = read_keys(self._setting)
        except SettingsError as error:
            _log.error("%s; the keys stay as they were", error)
        else:
            _log.warning("API_KEYS read again: %d keys", len(self._keys))
            self.say_if_nobody_is_let_in()

    async def guard(self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        """Litestar's guard: 401 without a known key, 403 for one of another role, 429 for one that asks too often."""
        wanted: Role | None = handler.opt.get("role")
        if wanted is None or self.is_open:
            return
        key = self._find(connection.headers.get("authorization", ""))
        if key is None:
            raise NotAuthorizedException("an API key is needed as a bearer token", headers=CHALLENGE)
        connection.scope["state"][KEY_NAME] = key.name
        if key.role != wanted:
            raise PermissionDeniedException(f"this needs a key with the role {wanted}")
        if self._per_second and await self._is_too_often(key):
            raise TooManyRequestsException(
                f"this key may send {self._per_second} requests per second", headers={"Retry-After": "1"}
            )

    def _find(self, header: str) -> Key | None:
        """The key of a request; every known one is compared, so that the time tells nothing."""
        digest = bearer_digest(header)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    async def _is_too_often(self, key: Key) -> bool:
        """Whether the key has used up this second, all replicas together. If Redis cannot tell, it has not."""
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                return await self._store.count(keys.rate(key.name), 1) > self._per_second
        except (StoreError, TimeoutError):
            self._on_unknown()
            return False
