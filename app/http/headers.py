"""Request headers that change what a request means."""

import re
from typing import Any, Final

from litestar import Request

from app.messages.reading import Unreadable

__all__ = ["REPLAYED", "idempotency_key"]

REPLAYED: Final = ((b"idempotent-replayed", b"true"),)
_IDEMPOTENCY_KEY: Final = re.compile(rb"[\x21-\x7e]{1,128}")


def idempotency_key(request: Request[Any, Any, Any]) -> str | None:
    """The header Idempotency-Key. Raises Unreadable unless it is 1 to 128 visible ASCII characters, given once."""
    values = [value for name, value in request.scope["headers"] if name == b"idempotency-key"]
    if not values:
        return None
    if len(values) > 1 or not _IDEMPOTENCY_KEY.fullmatch(values[0]):
        raise Unreadable("the header Idempotency-Key must be 1 to 128 visible ASCII characters, given once")
    return values[0].decode()
