"""Paths, key and errors of Azure Personalizer's clients."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest

from app.api.azure import _failed
from app.decision_log.lines import LongLine
from app.personalizer.errors import Refusal
from app.settings import Secret, SettingsError
from state.errors import ConflictError, CorruptState, StoreUnavailable
from tests.unit.app.serving import serving

pytestmark = pytest.mark.anyio
KEY = {"Ocp-Apim-Subscription-Key": "old"}


@asynccontextmanager
async def facade(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(personalizer_key=Secret("new, old"), **settings) as client:
        client.headers.update(KEY)
        yield client


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Of one service for all tests that leave nothing behind that others would see."""
    async with serving(personalizer_key=Secret("new, old"), max_body_bytes=2_048) as found:
        yield found


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize("version", ["", "/v1.0", *(f"/v1.1-preview{end}" for end in ("", ".1", ".2", ".3"))])
async def test_versions(client: httpx.AsyncClient, version: str) -> None:
    """Every version has the same paths; the event id may have any character, escaped."""
    event = f"ev {version}/ü%"
    sent = {"actions": [{"id": "a"}], "eventId": event}
    made = await client.post(f"/personalizer{version}/rank", json=sent, headers=KEY)
    path = f"/personalizer{version}/events/{quote(event, safe='')}/reward?api-version=x"
    told = await client.post(path, json={"value": 1}, headers=KEY)
    assert (made.status_code, made.json()["eventId"]) == (201, event)
    assert (told.status_code, told.content, told.headers["x-oo-outcome"]) == (204, b"", "applied")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Ocp-Apim-Subscription-Key": "new"}, 400),
        ({"Ocp-Apim-Subscription-Key": "old"}, 400),
        ({"Authorization": "Bearer old"}, 400),
        ({"Ocp-Apim-Subscription-Key": "new,old"}, 401),
        ({"Ocp-Apim-Subscription-Key": ""}, 401),
        ({"Authorization": "Basic old"}, 401),
        ({}, 401),
    ],
)
async def test_the_key(client: httpx.AsyncClient, headers: dict[str, str], status: int) -> None:
    """One of those that the setting names, in either header; API keys have nothing to do with it."""
    answer = await client.post("/personalizer/rank", headers=headers)
    other = await client.get("/personalizer/nothing", headers=headers)
    assert code(answer) == (status, "401" if status == 401 else "InvalidRankRequest")
    assert other.status_code == (401 if status == 401 else 404)
    assert "new" not in answer.text
    assert ("this key is none of" in answer.text) == (status == 401 and any(headers.values()))
    assert "retry-after" not in answer.headers


async def test_off() -> None:
    """Without a key there is nothing."""
    async with serving() as client:
        assert (await client.post("/personalizer/rank", headers=KEY)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "name"),
    [
        ("POST", "/rank", b"x", 400, "InvalidRankRequest"),
        ("POST", "/rank", b'{"actions": []}', 400, "InvalidRankRequest"),
        ("POST", "/rank", b'{"actions": [{"id": "a"}], "eventId": "%s"}' % (b"x" * 257), 400, "InvalidRankRequest"),
        ("POST", "/rank", b'{"actions": [{"id": "a"}, {"id": "a"}]}', 400, "InvalidRankRequest"),
        ("POST", "/rank", b" " * 3_000, 413, "PayloadSizeExceeded"),
        ("POST", "/events/e/reward", b'{"value": 1.5}', 400, "InvalidRewardRequest"),
        ("POST", "/events/e/reward", b'{"value": "NaN"}', 400, "InvalidRewardRequest"),
        ("POST", "/events/%FF/reward", b'{"value": 1}', 400, "InvalidRewardRequest"),
        ("POST", f"/events/{'x' * 257}/reward", b'{"value": 1}', 400, "InvalidRewardRequest"),
        ("POST", f"/events/{'x' * 257}/activate", b"", 400, "InvalidEventIdToActivate"),
        ("GET", "/rank", b"", 405, "OperationNotAllowed"),
        ("POST", "/v2.0/rank", b"", 404, "ResourceNotFound"),
        ("POST", "/events//reward", b"", 404, "ResourceNotFound"),
        ("POST", "/x", b"", 404, "ResourceNotFound"),
    ],
)
async def test_errors(
    client: httpx.AsyncClient, method: str, path: str, content: bytes, status: int, name: str
) -> None:
    """In their shape, with their codes, and nothing that would have a client repeat what is refused for good."""
    answer = await client.request(method, f"/personalizer{path}", content=content, headers=KEY)
    assert code(answer) == (status, name)
    assert "retry-after" not in answer.headers
    assert (answer.headers.get("allow") == "POST") == (status == 405)


async def test_another_request_under_the_same_event() -> None:
    """Is refused: what was answered is what a reward will count for."""
    async with facade() as client:
        for ids, status in (("a", 201), ("a", 201), ("b", 400)):
            sent = {"actions": [{"id": ids}], "eventId": "e"}
            assert (await client.post("/personalizer/rank", json=sent)).status_code == status


async def test_too_busy() -> None:
    """The same shape, with the time after which to come again; and in the metrics a route has one name."""
    async with facade(max_inflight=1) as client:
        await client.post("/personalizer/v1.0/events/e%2F1/reward", json={"value": 1})
        transport: Any = client._transport
        gate = transport.app
        gate._metrics.inside = 1
        busy = await client.post("/personalizer/rank")
        gate._metrics.inside = 0
        text = (await client.get("/metrics")).text
    assert code(busy) == (503, "ServiceUnavailable")
    assert busy.headers["retry-after"] == "1"
    assert 'route="/personalizer/events/{event_id}/reward",status="204"' in text
    assert 'oo_personalizer_told_total{outcome="unknown"} 1.0' in text


async def test_keys_that_are_none() -> None:
    """A setting that lets nobody in stops the start."""
    with pytest.raises(SettingsError, match="PERSONALIZER_KEY: holds no key"):
        async with serving(personalizer_key=Secret(" , ")):
            pass


@pytest.mark.parametrize(
    ("error", "status", "name", "again"),
    [
        (StoreUnavailable("Redis cannot be reached"), 503, "ServiceUnavailable", True),
        (ConflictError("others were first"), 503, "ServiceUnavailable", True),
        (LongLine("its line would be long"), 413, "PayloadSizeExceeded", False),
        (CorruptState("oo:{app}:u", "is damaged"), 500, "InternalServerError", False),
        (RuntimeError("a secret"), 500, "InternalServerError", False),
        (Refusal("EvaluationNotFound", "none", status=404), 404, "EvaluationNotFound", False),
    ],
)
def test_failures(error: Exception, status: int, name: str, again: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Only what may succeed later says when; what nobody expected is logged, and not told."""
    reply = _failed({"method": "POST", "path_template": "/x"}, error, "InvalidRankRequest")  # type: ignore[typeddict-item]
    told = msgspec.json.decode(reply.message)["error"]
    assert (reply.status, told["code"], "secret" in told["message"]) == (status, name, False)
    assert (b"retry-after" in dict(reply.headers)) == again
    assert bool(caplog.records) == (status == 500)
