"""Administration over HTTP."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.unit.app.api.test_azure import code, facade
from tests.unit.app.api.test_personalizer import ACTIONS

pytestmark = pytest.mark.anyio


async def test_the_configuration() -> None:
    """What is changed holds for the next event, and is shown."""
    async with facade() as client:
        path = "/personalizer/v1.1-preview.3/configurations/service"
        before = (await client.get(path)).json()
        wanted = {**before, "explorationPercentage": 1.0, "rewardWaitTime": "PT1H"}
        after = (await client.put(path, json=wanted)).json()
        shown = (await client.post("/personalizer/rank", json={"actions": ACTIONS})).json()["ranking"]
        odd = await client.put(path, json={"learningMode": "Apprentice", "defaultReward": 1})
        wrong = await client.put(path, json={"explorationPercentage": 2})
    assert after == {**wanted, "lastConfigurationEditDate": after["lastConfigurationEditDate"]}
    assert [each["probability"] for each in shown] == [0.5, 0.5]
    assert code(odd) == (400, "InvalidLearningModeServiceConfiguration")
    assert code(wrong) == (400, "InvalidServiceConfiguration")


async def test_an_apprentice_tells_whether_it_agrees() -> None:
    """In a header of each rank, and in the metrics."""
    async with facade() as client:
        await client.put("/personalizer/configurations/service", json={"learningMode": "Apprentice"})
        answers = [await client.post("/personalizer/rank", json={"actions": ACTIONS}) for _ in range(10)]
        text = (await client.get("/metrics")).text
        loop = (await client.get("/loops/personalizer")).json()
    assert {each.json()["rewardActionId"] for each in answers} == {"a"}
    found = [each.headers["x-oo-matched"] for each in answers]
    assert (found[0], found[-1]) == ("false", "true")
    assert (loop["imitated"], loop["matched"]) == (10, found.count("true"))
    assert f'oo_personalizer_matches_total{{matched="true"}} {found.count("true")}.0' in text


async def test_the_model() -> None:
    """Is exported, reset and imported as bytes."""
    async with facade() as client:
        await client.post("/personalizer/rank", json={"actions": ACTIONS, "eventId": "e"})
        await client.post("/personalizer/events/e/reward", json={"value": 1})
        saved = await client.get("/personalizer/model?signed=true")
        assert (await client.delete("/personalizer/model")).status_code == 204
        gone = await client.post("/personalizer/events/e/reward", json={"value": 1})
        assert (await client.get("/personalizer/model")).content != saved.content
        assert (await client.get("/personalizer/model/properties")).json() == {}
        assert (await client.put("/personalizer/model", content=saved.content)).status_code == 204
        assert (await client.get("/personalizer/model")).content == saved.content
        assert "lastModifiedTime" in (await client.get("/personalizer/model/properties")).json()
    assert gone.headers["x-oo-outcome"] == "unknown"
    assert saved.headers["content-type"] == "application/octet-stream"


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with facade() as found:
        yield found


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("POST", "/logs/observations", 400, "InvalidApiAccess"),
        ("POST", "/logs/interactions", 400, "InvalidApiAccess"),
        ("POST", "/evaluations", 400, "OperationNotAllowed"),
        ("POST", "/configurations/applyFromEvaluation", 404, "EvaluationNotFound"),
        ("DELETE", "/configurations/service", 405, "OperationNotAllowed"),
    ],
)
async def test_what_there_is_not(client: httpx.AsyncClient, method: str, path: str, status: int, name: str) -> None:
    """An error that says so."""
    answer = await client.request(method, f"/personalizer{path}")
    assert code(answer) == (status, name)
