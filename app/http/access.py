"""Who may call what: API keys with roles. The service knows only the SHA-256 of each key.

A client scores, rewards and generates; a reader reads statistics and history; an admin resets, erases and changes who
serves a loop. If no keys are set, the service is open to everyone.
"""

import asyncio
import hmac
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException, TooManyRequestsException
from litestar.handlers import BaseRouteHandler

from app.http.api_keys import Key, Role, bearer_digest, read_keys
from app.http.body import Incoming
from app.settings import SettingsError
from state import keys
from state.errors import StoreError
from state.store import Store

__all__ = ["ADMIN", "CHALLENGE", "CLIENT", "KEY_NAME", "READER", "Access"]

_log: Final = logging.getLogger("oo.access")

# The `opt` of a route: the role that its callers need. A route without one is open to everyone.
CLIENT: Final[Mapping[str, Role]] = {"role": "client"}
READER: Final[Mapping[str, Role]] = {"role": "reader"}
ADMIN: Final[Mapping[str, Role]] = {"role": "admin"}

# A request waits at most this long for the rate limit.
_LIMIT_SECONDS: Final = 0.25

# Under this name the state of a request holds the name of its key.
KEY_NAME: Final = "key_name"

# Tells the client of a 401 which kind of credentials to send.
CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}


class Access:
    """Checks that each request has a key with the role that its route needs, and limits the rate of each key.

    `setting` is API_KEYS. A key may send `per_second` requests (0: any number). `on_unknown` is called when Redis could
    not count one. Raises SettingsError.
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

    @property
    def keys(self) -> Sequence[Key]:
        """The keys there are now."""
        return self._keys

    def warn_if_locked(self) -> None:
        """Log a warning if API_KEYS is set but has no key, so that every request is refused."""
        if not self._keys and not self.is_open:
            _log.warning("API_KEYS has no keys: every request is answered 401")

    def read_again(self) -> None:
        """Read API_KEYS again. If that fails, the keys stay as they are."""
        try:
            self._keys = read_keys(self._setting)
        except SettingsError as error:
            _log.error("%s; the keys stay as they are", error)
        else:
            _log.warning("API_KEYS read again: %d keys", len(self._keys))
            self.warn_if_locked()

    async def guard(self, request: ASGIConnection[Any, Any, Any, Any] | Incoming, handler: BaseRouteHandler) -> None:
        """Litestar's guard: 401 without a known key, 403 for another role, 429 for a key that asks too often."""
        wanted: Role | None = handler.opt.get("role")
        if wanted is None or self.is_open:
            return
        sent = next((value for name, value in request.scope["headers"] if name == b"authorization"), b"")
        key = self.find(bearer_digest(sent.decode("latin-1")))
        if key is None:
            raise NotAuthorizedException("an API key is needed as a bearer token", headers=CHALLENGE)
        request.scope.setdefault("state", {})[KEY_NAME] = key.name
        if key.role != wanted:
            raise PermissionDeniedException(f"this needs a key with the role {wanted}")
        await self.limit(key)

    def find(self, digest: bytes) -> Key | None:
        """The key with this SHA-256. All known keys are compared, so that the time it takes reveals nothing."""
        match = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                match = key
        return match

    async def limit(self, key: Key) -> None:
        """Count a request with `key`. Raises TooManyRequestsException for one too many in this second."""
        if self._per_second and await self._is_too_often(key):
            raise TooManyRequestsException(
                f"this key may send {self._per_second} requests per second", headers={"Retry-After": "1"}
            )

    async def _is_too_often(self, key: Key) -> bool:
        """Whether the key has used up this second, over all replicas. False if Redis cannot tell."""
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                return await self._store.count(keys.rate(key.name), 1) > self._per_second
        except (StoreError, TimeoutError):
            self._on_unknown()
            return False
