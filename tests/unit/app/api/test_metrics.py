"""GET /metrics: what it answers, and to whom."""

import pytest

from app.http.api_keys import make_key
from app.settings import Secret
from tests.unit.app.serving import SCORE, serving

pytestmark = pytest.mark.anyio


async def test_a_scrape_tells_what_was_counted() -> None:
    """In Prometheus' text format."""
    async with serving() as client:
        await client.post("/score", json=SCORE)
        answer = await client.get("/metrics")
        assert answer.headers["content-type"] == "text/plain; version=1.0.0; charset=utf-8"
        assert 'oo_http_request_seconds_count{method="POST",route="/score",status="200"} 1.0' in answer.text
        assert 'oo_decisions_total{explored="false",policy="linucb-v1"} 1.0' in answer.text


async def test_only_the_key_of_metrics_opens_them() -> None:
    """An API key does not."""
    key, line = make_key("me", "admin")
    async with serving(metrics_key=Secret("m-1"), api_keys=Secret(line)) as client:
        for header in ("", "Bearer m-2", "m-1", "Basic m-1", f"Bearer {key}"):
            answer = await client.get("/metrics", headers={"Authorization": header})
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert (await client.get("/metrics", headers={"Authorization": "bearer  m-1"})).status_code == 200
