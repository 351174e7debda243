"""Who may call what: keys with roles, known by their SHA-256 alone.

A client scores, rewards and generates; a reader reads statistics and history; an admin resets and erases. Without any
key the service is open to everyone.
"""

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException, TooManyRequestsException
from litestar.handlers import BaseRouteHandler

from app.settings import SettingsError
from state import keys
from state.errors import StoreError
from state.store import Store

__all__ = [
    "ADMIN",
    "CHALLENGE",
    "CLIENT",
    "KEY_NAME",
    "READER",
    "ROLES",
    "Access",
    "Key",
    "Role",
    "bearer_digest",
    "make_key",
    "read_keys",
]

_log: Final = logging.getLogger("oo.access")

Role = Literal["client", "reader", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
# What a route's `opt` says of who may call it; a route that says nothing is open to everyone.
CLIENT: Final[Mapping[str, Role]] = {"role": "client"}
READER: Final[Mapping[str, Role]] = {"role": "reader"}
ADMIN: Final[Mapping[str, Role]] = {"role": "admin"}
_LINE: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,64}):(?P<role>client|reader|admin):(?P<digest>[0-9a-f]{64})")
# Longer than this nobody waits to learn whether he asks too often.
_LIMIT_SECONDS: Final = 0.25
# Where the state of a request holds the name of the key it came with.
KEY_NAME: Final = "key_name"
# What a 401 says of how to do better.
CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}


class Key(msgspec.Struct, frozen=True):
    """A key's name, role and SHA-256 (32 bytes); the key itself is known to its owner only."""

    name: str
    role: Role
    digest: bytes


def make_key(name: str, role: str) -> tuple[str, str]:
    """A new key, and the line to put into API_KEYS. Raises SettingsError for a name or role that cannot be."""
    key = secrets.token_urlsafe(32)
    line = f"{name}:{role}:{hashlib.sha256(key.encode()).hexdigest()}"
    if not _LINE.fullmatch(line):
        raise SettingsError(f"a key has a name of 1 to 64 letters, digits or ._- and a role: {', '.join(ROLES)}")
    return key, line


def read_keys(setting: str) -> list[Key]:
    """The keys of API_KEYS: lines `name:role:sha256`, or the path of a file with such lines.

    A line may hold several, with commas between them; from a # on it is a comment. Raises SettingsError, naming the
    line by its number.
    """
    text = setting
    if setting.startswith(("/", "./", "../")):
        try:
            text = Path(setting).read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SettingsError(f"API_KEYS: the file it names cannot be read: {why}") from None
    found_keys: list[Key] = []
    entries = ((number, entry) for number, line in enumerate(text.splitlines(), 1) for entry in _entries(line))
    for number, entry in entries:
        found = _LINE.fullmatch(entry)
        if found is None:
            raise SettingsError(f"API_KEYS: line {number} is not name:role:sha256 with a role of {', '.join(ROLES)}")
        role: Any = found["role"]
        key = Key(found["name"], role, bytes.fromhex(found["digest"]))
        if any(known.digest == key.digest for known in found_keys):
            raise SettingsError(f"API_KEYS: line {number} is a key that another line has already")
        found_keys.append(key)
    return found_keys


def _entries(line: str) -> list[str]:
    return [stripped for entry in line.partition("#")[0].split(",") if (stripped := entry.strip())]


def bearer_digest(header: str) -> bytes:
    """The SHA-256 of the bearer token in a header Authorization, to compare in constant time; b"" if it has none."""
    scheme, _, token = header.partition(" ")
    stripped = token.strip(" \t")
    return hashlib.sha256(stripped.encode("latin-1")).digest() if stripped and scheme.lower() == "bearer" else b""


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
