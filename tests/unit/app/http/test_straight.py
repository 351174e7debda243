"""The short way: which requests take it, and that it answers what Litestar would."""

import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from litestar import Request, post
from litestar.exceptions import NotAuthorizedException

from app.http.access import CHALLENGE, CLIENT
from app.http.api_keys import make_key
from app.http.body import Answer, read_body
from app.http.straight import STRAIGHT, Straight
from app.messages.basics import Ok
from app.settings import Secret
from state.errors import StoreUnavailable
from tests.unit.app.serving import REWARD, SCORE, serving

pytestmark = pytest.mark.anyio

USUAL, UNUSUAL = b"here:8000", b"he~re"


class Both:
    """A service with the straight route /a and the other route /b; `passed` are the paths that Litestar would get."""

    def __init__(self) -> None:
        self.passed: list[Any] = []
        self.bodies: list[bytes] = []
        self.guarded: list[Any] = []
        self.refusal: Exception | None = None
        self.error: Exception | None = None
        opt = {**CLIENT, **STRAIGHT}
        routes = [
            post("/a", status_code=200, opt=opt)(self.handler()),
            post("/b", opt=CLIENT)(self.handler()),
            post("/c/{name:str}/d", status_code=200, opt=opt)(self.named()),
        ]
        self._app = Straight(self.litestar, routes, [self.guard])

    def handler(self) -> Any:
        async def handle(request: Request[Any, Any, Any]) -> Answer:
            self.bodies.append(await read_body(request, 9))
            if self.error:
                raise self.error
            return Answer(Ok())

        return handle

    def named(self) -> Any:
        async def handle(request: Request[Any, Any, Any], name: str) -> Answer:
            self.bodies.append(name.encode())
            return Answer(Ok())

        return handle

    async def guard(self, request: Any, route: Any) -> None:
        self.guarded.append((dict(request.scope["headers"])[b"authorization"], route.opt["role"]))
        if self.refusal:
            raise self.refusal

    async def litestar(self, scope: Any, *_: Any) -> None:
        self.passed.append((scope["type"], scope.get("path")))

    async def ask(self, path: str = "/a", method: str = "POST", host: bytes | None = USUAL) -> tuple[Any, Any]:
        """The scope afterwards, and what was sent."""
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"x", "more_body": False}

        async def send(event: Any) -> None:
            sent.append(event)

        headers = [(b"authorization", b"me")] + ([] if host is None else [(b"host", host)])
        scope: Any = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
        await self._app(scope, receive, send)
        return scope, sent

    async def start(self) -> None:
        await self._app({"type": "lifespan"}, None, None)  # type: ignore[arg-type]  # nothing else is read


async def test_a_parameter() -> None:
    """It is the part before the last, whatever it is; a path that only looks alike is Litestar's."""
    both = Both()
    scope, (start, _) = await both.ask("/c/x%2Fy.z/d")
    assert (start["status"], scope["path_template"], both.bodies) == (200, "/c/{name}/d", [b"x%2Fy.z"])
    for path in ("/c//d", "/c/x/e", "/c/x/y/d", "/c/x", "/x/d"):
        await both.ask(path)
    assert [path for _, path in both.passed] == ["/c//d", "/c/x/e", "/c/x/y/d", "/c/x", "/x/d"]


async def test_a_straight_route_is_answered_here() -> None:
    """After its guards; the log, the metrics and the traces find the route's path in the scope."""
    both = Both()
    scope, (start, body) = await both.ask()
    assert (start["status"], body["body"], scope["path_template"]) == (200, b'{"ok":true}', "/a")
    assert (both.bodies, both.guarded, both.passed) == ([b"x"], [(b"me", "client")], [])


async def test_all_else_is_litestar_s() -> None:
    """Other routes, other methods, Host headers that it might refuse, and its start."""
    both = Both()
    await both.ask("/b")
    await both.ask("/a/")
    await both.ask(method="GET")
    for host in (None, b"a b", b"a/b", b"a\xff", b"a@b", UNUSUAL, b"[::1]", b"a\n"):
        await both.ask(host=host)
    await both.start()
    assert both.passed == [("http", "/b"), ("http", "/a/"), *[("http", "/a")] * 9, ("lifespan", None)]
    assert (both.bodies, both.guarded) == ([], [])


async def test_a_guard_refuses() -> None:
    """Then the handler does not run."""
    both = Both()
    both.refusal = NotAuthorizedException("no", headers=CHALLENGE)
    _, (start, body) = await both.ask()
    assert (start["status"], body["body"]) == (401, b'{"detail":"no"}')
    assert (b"www-authenticate", b"Bearer") in start["headers"]
    assert (both.bodies, both.passed) == ([], [])


async def test_errors_of_a_handler(caplog: pytest.LogCaptureFixture) -> None:
    """By the one table; an unexpected one is logged with its route and not revealed."""
    both = Both()
    both.error = StoreUnavailable("away")
    _, (start, body) = await both.ask()
    assert (start["status"], body["body"]) == (503, b'{"detail":"away"}')
    assert (b"retry-after", b"1") in start["headers"]
    both.error = KeyError("secret")
    with caplog.at_level(logging.ERROR, "oo.http"):
        _, (start, body) = await both.ask()
    assert (start["status"], body["body"]) == (500, b'{"detail":"internal server error"}')
    assert [record.getMessage() for record in caplog.records] == ["POST /a failed"]


KEY, LINE = make_key("phone", "client")
READ, READ_LINE = make_key("desk", "reader")


@pytest.fixture(scope="module", params=[False, True], ids=["open", "keys"])
async def two(request: pytest.FixtureRequest) -> AsyncIterator[tuple[dict[bytes, httpx.AsyncClient], bool]]:
    """Two services, one for requests to each of two hosts, and whether they ask for keys."""
    setting = Secret(f"{LINE},{READ_LINE}" if request.param else "")
    async with (
        serving(api_keys=setting, max_body_bytes=1_024) as usual,
        serving(api_keys=setting, max_body_bytes=1_024) as unusual,
    ):
        yield {USUAL: usual, UNUSUAL: unusual}, request.param


ONE: Any = SCORE | {"candidates": SCORE["candidates"][:1], "id": "one"}  # among which nothing is by chance
GOOD: Any = {
    "/score": ONE,
    "/reward": REWARD,
    "/score/egreedy": ONE,
    "/reward/egreedy/v2": REWARD,
    "/decisions": ONE,
    "/decisions/batch": {"decisions": [ONE]},
    "/rewards/batch": {"rewards": [{"decision_id": "x", "reward": 1}]},
}


@pytest.mark.parametrize("route", GOOD)
async def test_both_ways_answer_the_same(two: tuple[dict[bytes, httpx.AsyncClient], bool], route: str) -> None:
    """Status, headers and body of what is right and of what is refused, whatever the name of the host."""
    clients, keys = two
    good = GOOD[route]
    good = good | {"user_id": route}
    bearers = [{"authorization": f"Bearer {key}"} for key in (KEY, READ, "x")] if keys else []
    requests: list[dict[str, Any]] = [
        {"json": good},
        {"content": b"{"},
        {"content": b"\xff"},
        {"json": good | {"user_id": ""}},
        {"json": good | {"candidates": [], "reward": 9}},
        {"json": good | {"x": " " * 1_024}},
        {"json": good, "headers": {"idempotency-key": " "}},
        {"json": good, "headers": {"idempotency-key": "k"}},
        {"json": good, "headers": {"idempotency-key": "k"}},
    ]
    requests = [one | {"headers": one.get("headers", {}) | bearer} for one in requests for bearer in ({}, *bearers)]
    seen = []
    for host, client in clients.items():
        answers = []
        for one in requests:
            answer = await client.post(route, **one | {"headers": one["headers"] | {"host": host.decode()}})
            headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
            # Redis's clock goes on between the two.
            content = re.sub(rb'"deadline":"[^"]*"', b"", answer.content)
            answers.append((answer.status_code, headers, content))
        seen.append(answers)
    assert seen[0] == seen[1]
    assert {status for status, _, _ in seen[0]} == ({200, 401, 403, 413, 422} if keys else {200, 413, 422})


async def test_the_rate_of_a_key_is_limited_here_too() -> None:
    """With the name of the key in the scope, for the log."""
    async with serving(api_keys=Secret(LINE), rate_limit_per_second=1) as client:
        headers = {"authorization": f"Bearer {KEY}", "host": USUAL.decode()}
        answers = [await client.post("/score", json=SCORE, headers=headers) for _ in range(9)]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status_code == 429)
