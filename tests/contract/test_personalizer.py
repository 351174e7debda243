"""What Azure Personalizer's published clients were seen to send gets the status that they take for success."""

import json
from pathlib import Path

import pytest

from app.settings import Secret
from tests.unit.app.serving import serving

pytestmark = pytest.mark.anyio

RECORDED = Path(__file__).parents[1] / "data" / "personalizer.jsonl"
# What there is nothing of is told as it is, by a code that the clients show.
REFUSED = {
    ("PUT", "model"): (400, "InvalidModelImportFormat"),  # the recorded bytes are no model
    ("DELETE", "logs"): (400, "OperationNotAllowed"),
    ("PUT", "evaluations"): (400, "OperationNotAllowed"),
    ("GET", "evaluations"): (404, "EvaluationNotFound"),
    ("DELETE", "evaluations"): (404, "EvaluationNotFound"),
    ("POST", "configurations"): (404, "EvaluationNotFound"),
    ("PUT", "featureImportances"): (400, "OperationNotAllowed"),
    ("GET", "featureImportances"): (404, "ResourceNotFound"),
    ("DELETE", "featureImportances"): (404, "ResourceNotFound"),
}


async def test_every_recorded_request() -> None:
    """In the order in which they came; lists of what there is nothing of are empty."""
    lines = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    async with serving(personalizer_key=Secret("KEY")) as client:
        for line in lines:
            method, path = line["request"].split(" ", 1)
            body = line["body"]
            content = body.encode() if isinstance(body, str) else b"" if body is None else json.dumps(body).encode()
            answer = await client.request(method, path, headers=line["headers"], content=content)
            parts = path.partition("?")[0].split("/")[2:]
            listed = method == "GET" and len(parts) == 1
            status, code = (None, None) if listed else REFUSED.get((method, parts[0]), (None, None))
            if len(parts) == 2 and parts[1] in ("properties", "service", "policy"):
                status = None
            assert answer.status_code == (status or line["status"]), (line["client"], answer.text)
            if status:
                assert answer.json()["error"]["code"] == code
                assert "retry-after" not in answer.headers
            elif answer.status_code == 204:
                assert answer.content == b""
    assert len(lines) == 41
