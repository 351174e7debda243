"""POST /generate and GET /prompts."""

import httpx
import msgspec
import pytest

from tests.unit.app.serving import serving

pytestmark = pytest.mark.anyio

TIPS = '[{"content": "Walk.", "rationale": "It is sunny."}]'


async def test_tips_come_from_the_model() -> None:
    """It is told the tasks and the moment, and neither the user nor the profile."""
    asked: list[bytes] = []

    def model(request: httpx.Request) -> httpx.Response:
        asked.append(request.content)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TIPS}}
        usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
        return httpx.Response(200, json={"model": "m", "choices": [choice], "usage": usage})

    body = {
        "user_id": "W3ird",
        "n": 1,
        "context": {"tasks": [{"content": "Rent"}], "hour_of_day": 9},
        "profile_features": {"Pr0file": 1},
    }
    async with serving(model) as client:
        answer = (await client.post("/generate", json=body)).json()
        metrics = (await client.get("/metrics")).text
    [tip] = answer.pop("candidates")
    assert (tip["content"], tip["rationale"], tip["source"]) == ("Walk.", "It is sunny.", "llm")
    assert answer == {"model": "m", "prompt_version": "v1", "prompt_tokens": 5, "completion_tokens": 7}
    [sent] = asked
    assert b"Rent" in sent
    assert b"W3ird" not in sent
    assert b"Pr0file" not in sent
    assert 'oo_llm_generations_total{outcome="ok"} 1.0' in metrics


async def test_a_bad_request_asks_nobody() -> None:
    """Neither a body that is not valid nor one that is too long reaches the model."""
    async with serving(max_body_bytes=1_024) as client:
        assert (await client.post("/generate", json={"user_id": "ann", "n": 21})).status_code == 422
        assert (await client.post("/generate", json={"user_id": "ann", "prompt_version": "v9"})).status_code == 422
        assert (await client.post("/generate", content=b" " * 1_025)).status_code == 413


async def test_prompts_are_listed() -> None:
    """With the one that is used by default."""
    async with serving(default_prompt_version="v2") as client:
        found = msgspec.json.decode((await client.get("/prompts")).content)
        assert found["default"] == "v2"
        assert {"v1", "v2"} <= set(found["versions"])
