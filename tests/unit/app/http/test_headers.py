"""Request headers that change what a request means, and the prefix under which a proxy publishes the service."""

from types import SimpleNamespace
from typing import Any

import pytest
from litestar import Request

from app.http.headers import REPLAYED, Prefixed, idempotency_key, prefix
from app.messages.reading import Unreadable
from app.settings import Settings, SettingsError


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


async def seen(peer: str | None, path: str, *values: str, **settings: Any) -> tuple[str, str]:
    """The path that the application sees of a request for `path`, and the prefix that it knows of."""
    found: list[tuple[str, str]] = []

    async def app(scope: Any, *_: object) -> None:
        assert scope["raw_path"].decode("latin-1") == scope["path"]
        found.append((scope["path"], prefix(Request(scope))))

    headers = [(b"x-forwarded-prefix", value.encode("latin-1")) for value in values]
    scope: Any = {"type": "http", "path": path, "raw_path": path.encode("latin-1"), "headers": headers}
    scope["client"] = None if peer is None else (peer, 1)
    unused: Any = None
    await Prefixed(app, Settings(**settings), [])(scope, unused, unused)
    return found[0]


@pytest.mark.parametrize(
    ("path", "served"),
    [
        ("/a/b/score", "/score"),
        ("/a/b/", "/"),
        ("/a/b", "/"),
        ("/a/b//score", "//score"),
        ("/a/b/a/b/score", "/a/b/score"),
        ("/score", "/score"),
        ("/a/bc", "/a/bc"),
        ("/a", "/a"),
        ("/A/b/score", "/A/b/score"),
        ("/a/%62/score", "/a/%62/score"),
    ],
)
@pytest.mark.anyio
async def test_a_root_path_is_removed_once(path: str, served: str) -> None:
    """In its one spelling, if it is there."""
    assert await seen("10.0.0.1", path, root_path="/a/b") == (served, "/a/b")


TRUSTED = "10.0.0.0/8, fd00::/16,192.0.2.7"


@pytest.mark.parametrize("peer", ["10.9.9.9", "fd00::1", "192.0.2.7"])
@pytest.mark.anyio
async def test_a_trusted_proxy_names_the_prefix(peer: str) -> None:
    """It has removed the prefix, so the path is taken as it is."""
    settings = {"trusted_proxies": TRUSTED, "root_path": "/a"}
    assert await seen(peer, "/a/score", "/b/c/", **settings) == ("/a/score", "/b/c")
    assert await seen(peer, "/score", "/", **settings) == ("/score", "")
    assert await seen(peer, "/a/score", **settings) == ("/score", "/a")


@pytest.mark.parametrize("peer", ["11.0.0.1", "fd01::1", "192.0.2.8", "", "x", None])
@pytest.mark.anyio
async def test_nobody_else_does(peer: str | None) -> None:
    """A header of others counts as none."""
    assert await seen(peer, "/score", "/b", trusted_proxies=TRUSTED) == ("/score", "")
    assert await seen(peer, "/a/score", "/b", trusted_proxies=TRUSTED, root_path="/a") == ("/score", "/a")


@pytest.mark.parametrize(
    "values", [["/a", "/b"], ["/a,/b"], ["b"], ["//b"], ["/b//c"], ["/.."], ["/b\n"], ["/<b>"], ["/" + "b" * 64]]
)
@pytest.mark.anyio
async def test_a_prefix_is_a_path(values: list[str]) -> None:
    """What is not one, is too long, or comes twice counts as none, whoever says it."""
    assert await seen("10.0.0.1", "/score", *values, trusted_proxies=TRUSTED) == ("/score", "")


@pytest.mark.anyio
async def test_other_protocols_pass() -> None:
    """The start and the stop have no path."""
    passed: list[object] = []

    async def app(scope: Any, *_: object) -> None:
        passed.append(scope)

    unused: Any = None
    scope: Any = {"type": "lifespan"}
    await Prefixed(app, Settings(root_path="/a"), [])(scope, unused, unused)
    assert passed == [{"type": "lifespan"}]


def test_what_cannot_be_a_proxy() -> None:
    """The words are named; so is a list that is too long."""
    unused: Any = None
    for text in ("proxy.example", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/8;fd00::1"):
        with pytest.raises(SettingsError, match=f"TRUSTED_PROXIES: .* not '{text}'"):
            Prefixed(unused, Settings(trusted_proxies=f"10.0.0.1,{text}"), [])
    with pytest.raises(SettingsError, match="TRUSTED_PROXIES: takes at most 64"):
        Prefixed(unused, Settings(trusted_proxies="10.0.0.1," * 65), [])


def test_a_root_path_is_unlike_the_paths_of_the_service() -> None:
    """`/score/score` could be meant in two ways."""
    unused: Any = None
    routes: list[Any] = [SimpleNamespace(paths=["/stats/{user_id:str}", "/"]), SimpleNamespace(paths=["/score"])]
    Prefixed(unused, Settings(root_path="/scores"), routes)
    for root in ("/score", "/stats/x"):
        with pytest.raises(SettingsError, match=f"ROOT_PATH: {root} begins like a path of the service"):
            Prefixed(unused, Settings(root_path=root), routes)
