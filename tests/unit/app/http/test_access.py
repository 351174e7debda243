"""Who is let through: by key, by role, by rate."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException, TooManyRequestsException

from app.http.access import ADMIN, CLIENT, KEY_NAME, READER, Access
from app.http.api_keys import make_key
from state.errors import StoreUnavailable

pytestmark = pytest.mark.anyio

KEY, LINE = make_key("phone", "client")


class Counter:
    """A store that counts requests, or fails, or hangs."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.fails = self.hangs = False

    async def count(self, key: str, seconds: int) -> int:
        assert seconds == 1
        if self.fails:
            raise StoreUnavailable("away")
        if self.hangs:
            await asyncio.Event().wait()
        self.counts[key] = self.counts.get(key, 0) + 1
        return self.counts[key]


class Route:
    def __init__(self, **opt: Any) -> None:
        self.opt = opt


def made(setting: str = LINE, per_second: int = 0) -> tuple[Access, Any, list[None]]:
    store: Any = Counter()
    unknown: list[None] = []
    return Access(setting, store, per_second, lambda: unknown.append(None)), store, unknown


async def ask(access: Access, route: Any, header: str | None = f"Bearer {KEY}") -> Any:
    headers = [] if header is None else [(b"authorization", header.encode())]
    scope: Any = {"type": "http", "headers": headers, "state": {}}
    connection: Any = ASGIConnection(scope)
    await access.guard(connection, route)
    return connection.scope["state"].get(KEY_NAME)


async def test_a_key_of_the_role_is_let_through_and_named() -> None:
    """A route without a role needs no key."""
    access, _, _ = made()
    assert not access.is_open
    assert await ask(access, Route(**CLIENT)) == "phone"
    assert await ask(access, Route(), None) is None


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer nonsense", f"Basic {KEY}", f"Bearer {KEY}x"],
    ids=["none", "empty", "nonsense", "Basic", "longer"],
)
async def test_without_a_known_key_it_is_401(header: str | None) -> None:
    """And the answer says which credentials to send."""
    access, _, _ = made()
    with pytest.raises(NotAuthorizedException) as caught:
        await ask(access, Route(**CLIENT), header)
    assert caught.value.headers == {"WWW-Authenticate": "Bearer"}


@pytest.mark.parametrize("role", [READER, ADMIN])
async def test_with_another_role_it_is_403(role: dict[str, Any]) -> None:
    """No role includes another."""
    access, _, _ = made()
    with pytest.raises(PermissionDeniedException, match=f"the role {role['role']}"):
        await ask(access, Route(**role))


async def test_too_often_is_429() -> None:
    """A key may send as many requests as the limit says; those that fail the check of its role do not count."""
    access, store, unknown = made(per_second=2)
    with pytest.raises(PermissionDeniedException):
        await ask(access, Route(**ADMIN))
    for _ in range(2):
        await ask(access, Route(**CLIENT))
    with pytest.raises(TooManyRequestsException) as caught:
        await ask(access, Route(**CLIENT))
    assert caught.value.headers == {"Retry-After": "1"}
    assert (store.counts, unknown) == ({"oo:rate:phone": 3}, [])


@pytest.mark.parametrize("trouble", ["fails", "hangs"])
async def test_a_limit_that_cannot_be_checked_lets_through(trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow or missing Redis refuses no caller, and is counted."""
    monkeypatch.setattr("app.http.access._LIMIT_SECONDS", 0.01)
    access, store, unknown = made(per_second=1)
    setattr(store, trouble, True)
    assert await ask(access, Route(**CLIENT)) == "phone"
    assert unknown == [None]


async def test_without_keys_everyone_is_let_through() -> None:
    """The service is open if API_KEYS is empty, and closed if it is set but has no key."""
    access, _, _ = made("")
    assert access.is_open
    assert await ask(access, Route(**ADMIN), None) is None
    access, _, _ = made("# none yet")
    with pytest.raises(NotAuthorizedException):
        await ask(access, Route(**ADMIN))


async def test_keys_are_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A new file replaces all keys; one that cannot be read changes nothing; one without a key is warned of."""
    caplog.set_level(logging.INFO)
    file = tmp_path / "keys"
    file.write_text(LINE)
    access, _, _ = made(str(file))
    file.write_text("nonsense")
    access.read_again()
    assert await ask(access, Route(**CLIENT)) == "phone"
    file.write_text("")
    access.read_again()
    with pytest.raises(NotAuthorizedException):
        await ask(access, Route(**CLIENT))
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith("API_KEYS: line 1 is not")
    assert said[1:] == ["API_KEYS read again: 0 keys", "API_KEYS has no keys: every request is answered 401"]
