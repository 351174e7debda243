"""Thousands of bodies that no client would write: never an answer of 5xx, and a refusal changes nothing."""

import json
import string
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.bodies import POLICIES, contents, reward, score
from tests.support.processes import Server
from tests.support.redis_servers import RedisServer

ROUTES = [(verb, f"/{verb}{suffix}") for verb in ("score", "reward") for suffix in POLICIES.values()]
VALID = {"score": score(), "reward": reward()}
NAMES = sorted({name for body in VALID.values() for name in str(body).replace("'", " ").split() if name.isidentifier()})


@pytest.fixture(scope="module")
def client(served: Server) -> Iterator[httpx.Client]:
    # A connection for each request: one that is kept for 5 s is closed just when a busy machine comes to use it again.
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=served.url, timeout=60, limits=limits) as client:
        yield client


numbers = st.one_of(
    st.integers(),
    st.integers(-2, 25),
    st.floats(),
    st.sampled_from([0, -0.0, 1e-320, 1e308, -1e308, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400]),
)
texts = st.one_of(
    st.text(max_size=20),
    st.text(string.digits + "+-.eE_ \t", max_size=8),
    st.sampled_from(["", "true", "NaN", "inf", "1e999", "null", "7 ", "x" * 256, "日" * 257, "{}", "oo:{ann}:history"]),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | texts, inner, max_size=4),
    max_leaves=8,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in `value` with each of its keys or positions."""
    for key in list(value) if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0):
        yield value, key
        yield from places(value[key])


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A route and a valid body of it in which some fields were changed, dropped or added, or some bytes were."""
    verb, route = draw(st.sampled_from(ROUTES))
    body = json.loads(json.dumps(VALID[verb]))
    for _ in range(draw(st.integers(0, 3))):
        found = list(places(body))
        if not found:
            break
        holder, key = draw(st.sampled_from(found))
        match draw(st.sampled_from(["change", "change", "drop", "add", "twice"])):
            case "change":
                holder[key] = draw(values)
            case "drop":
                del holder[key]
            case "add" if isinstance(holder, dict):
                holder[draw(st.sampled_from(NAMES) | texts)] = draw(values)
            case _ if isinstance(holder, list):
                holder.append(holder[key])
    # Python writes NaN and Infinity, and lone surrogates as \u escapes: all of that is to be met.
    content = json.dumps(body).encode()
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 2]))):
        cut = draw(st.integers(0, len(content)))
        content = content[:cut] + draw(st.binary(max_size=4)) + content[cut + draw(st.integers(0, 3)) :]
    return route, content


def check(client: httpx.Client, store: RedisServer, method: str, route: str, content: bytes) -> None:
    before = contents(store)
    answer = client.request(method, route, content=content)
    assert answer.status_code in (200, 404, 405, 413, 422), (answer.status_code, answer.text)
    body = answer.json()
    if answer.status_code == 200:
        assert body == {"ok": True} or {"tip_id", "score", "policy"} <= body.keys()
    else:
        assert body["detail"]
        assert contents(store) == before


@settings(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(request=bodies())
def test_mutated_requests(client: httpx.Client, store: RedisServer, request: tuple[str, bytes]) -> None:
    """A request is served or refused with a reason, never failed; and what it left behind can be read."""
    route, content = request
    check(client, store, "POST", route, content)


@settings(max_examples=150)
@given(
    route=st.sampled_from([route for _, route in ROUTES]),
    content=st.binary(max_size=200) | values.map(json.dumps).map(str.encode),
)
def test_any_bytes(client: httpx.Client, store: RedisServer, route: str, content: bytes) -> None:
    """Bytes and JSON that have nothing to do with a request are refused."""
    check(client, store, "POST", route, content)


@settings(max_examples=150)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE"]),
    path=st.lists(
        st.sampled_from(["stats", "egreedy", "v2", "features", "reset", "score", "", "..", "%2F", "%FF", "%00", "a"]),
        max_size=5,
    ),
)
def test_any_path(client: httpx.Client, method: str, path: list[str]) -> None:
    """No path makes the service fail."""
    answer = client.request(method, "/", extensions={"target": b"/" + "/".join(path).encode()})
    assert answer.status_code < 500, (answer.status_code, answer.text)


def test_afterwards_every_model_can_be_read(client: httpx.Client, store: RedisServer) -> None:
    """Whatever was accepted above left models with finite numbers and histories that can be listed."""
    with store.client(decode_responses=True) as redis:
        users = {key[4 : key.index("}:")] for key in redis.keys("oo:{*")}
    for user in users:
        assert client.get(f"/features/{user}").status_code == 200
        for suffix in POLICIES.values():
            answer = client.get(f"/stats{suffix}/{user}")
            assert answer.status_code == 200
            assert all(abs(number) < 1e6 for number in answer.json()["theta"])
