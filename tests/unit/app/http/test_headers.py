"""Request headers that change what a request means."""

from typing import Any

import pytest
from litestar import Request

from app.http.headers import REPLAYED, idempotency_key
from app.messages.reading import Unreadable


def request(*values: bytes) -> Request[Any, Any, Any]:
    scope: Any = {"type": "http", "headers": [(b"accept", b"x"), *((b"idempotency-key", value) for value in values)]}
    return Request(scope)


@pytest.mark.parametrize("key", ["a", "~" * 128, "!/%"])
def test_a_key(key: str) -> None:
    """Visible ASCII, at most 128 characters."""
    assert idempotency_key(request(key.encode())) == key


def test_no_key() -> None:
    """It may be left out."""
    assert idempotency_key(request()) is None


@pytest.mark.parametrize("keys", [[b""], [b"a b"], [b"\xfc"], [b"x" * 129], [b"a", b"a"], [b"a\n"]])
def test_another_key_is_refused(keys: list[bytes]) -> None:
    """It would not be clear what it names."""
    with pytest.raises(Unreadable, match="Idempotency-Key"):
        idempotency_key(request(*keys))


def test_names_are_lower_case() -> None:
    """As HTTP servers send them."""
    assert all(name == name.lower() for name, _ in REPLAYED)
