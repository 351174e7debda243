"""Sessions: a cookie that names an API key, expires, and cannot be made without the key's digest and a secret. Pure."""

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from typing import Final

from app.http.api_keys import Key

__all__ = ["SECONDS", "cookie_of", "holder"]

# A working day.
SECONDS: Final = 36_000
_COOKIE: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,64})~(?P<until>[0-9]{1,12})~(?P<proof>[A-Za-z0-9_-]{43})")


def cookie_of(key: Key, secret: bytes, now: float) -> str:
    """The cookie of a session that begins at `now` (Unix seconds) and lasts for SECONDS."""
    until = int(now) + SECONDS
    return f"{key.name}~{until}~{_proof(key, secret, until)}"


def holder(keys: Iterable[Key], secret: bytes, cookie: str, now: float) -> Key | None:
    """The key of a session; None if it is over, is none of ours, or its key is not among `keys` any more."""
    found = _COOKIE.fullmatch(cookie)
    if found is None:
        return None
    until, match = int(found["until"]), None
    for key in keys:
        # All of them, and whole, so that the time it takes reveals nothing.
        if key.name == found["name"] and hmac.compare_digest(_proof(key, secret, until), found["proof"]):
            match = key
    return match if now < until <= now + SECONDS else None


def _proof(key: Key, secret: bytes, until: int) -> str:
    """Another key, another role, another secret or another time makes another one."""
    own = hmac.digest(secret, key.digest, "sha256")
    made = hmac.digest(own, f"{key.name}~{key.role}~{until}".encode(), "sha256")
    return urlsafe_b64encode(made).decode().rstrip("=")
