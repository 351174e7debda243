"""The service against its own OpenAPI document: it takes what the document says, and answers as it says."""

import asyncio
from itertools import count
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode

from tests.support.redis_servers import redis_server
from tests.support.service import service
from tests.support.standin import Asked, completion, http, stand_in
from tests.support.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.anyio

DOCUMENT = "/schema/openapi.json"
# A request that breaks the document may be served all the same: reading is lenient by intent ("3" for 3), and the
# document says what clients should send. What must be refused has tests of its own.
LENIENT = {"negative_data_rejection"}
# Which prompt versions there are is no matter of the document, nor which policies, and which state a loop is in.
CHOOSY = {"positive_data_acceptance"}


async def tip(_: Asked) -> bytes:
    return http(completion('[{"content": "Walk."}]'))


_KEY = "Idempotency-Key"
_numbers = count()


def converse(url: str, mode: GenerationMode) -> tuple[set[str], list[str]]:
    """Ask every operation in the document of the service at `url`: the paths asked, and what was wrong."""
    load_all_checks()
    tried, wrong = set(), []
    for found in schemathesis.openapi.from_url(url + DOCUMENT).get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        try:
            ask(operation, mode, LENIENT | (CHOOSY if operation.path in ("/generate", "/loops/{loop}") else set()))
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE  # it takes nothing, so nothing about it can be wrong
            continue
        except FailureGroup as failures:
            wrong += [f"{operation.label}: {failure}" for failure in failures.exceptions]
        tried.add(operation.path)
    return tried, wrong


def allowed(case: schemathesis.Case[Any]) -> None:
    """Change what no schema can say: a key or an id stands for one request, there is one loop, which has a range of
    rewards and no parts, and its candidates have ids of their own, of which those that are excluded are some."""
    if case.headers and _KEY in case.headers:
        case.headers[_KEY] = f"key-{next(_numbers)}"
    body: Any = case.body
    if not case.path.startswith("/decisions") or not isinstance(body, dict):
        return
    if "candidates" in body:
        body |= {"loop": "tips", "id": f"id-{next(_numbers)}", "exclude": []}
        for place, candidate in enumerate(body["candidates"]):
            candidate["id"] = f"{place} {candidate['id']}"[:256]
    elif "reward" in body:
        body["reward"] = min(max(body["reward"], -1.0), 1.0)
        body.pop("part", None)


def ask(operation: Any, mode: GenerationMode, names: set[str]) -> None:
    """Ten requests of one operation. Raises FailureGroup unless all checks but these hold for every answer."""
    excluded: list[Any] = [check for check in CHECKS.get_all() if check.__name__ in names]

    @settings(
        max_examples=10,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers(case: schemathesis.Case[Any]) -> None:
        if mode is GenerationMode.POSITIVE:
            allowed(case)
        taken: list[Any] = []

        def answered() -> bool:
            taken[:] = [case.call(timeout=PATIENCE_SECONDS)]
            # A probe gives Redis half a second, which it may not have on a busy machine.
            return taken[0].status_code != 503 or not operation.path.startswith("/health")

        until(answered, f"{operation.label} has another answer than 503")
        case.validate_response(taken[0], excluded_checks=excluded)

    answers()


@pytest.mark.parametrize("mode", GenerationMode)
async def test_answers_are_those_of_the_document(mode: GenerationMode) -> None:
    """Requests made from the document, and ones that break it, never fail; each answer has a status, a content type
    and a body that the document lists for its route."""
    async with stand_in(tip) as llm:
        with redis_server() as store:
            env = {"REDIS_URL": store.url, "LITELLM_URL": llm.url, "LITELLM_MASTER_KEY": "key"}
            with service(env | {"STORE_TIMEOUT_SECONDS": "30"}) as server:
                tried, wrong = await asyncio.to_thread(converse, server.url, mode)
    assert wrong == []
    bodies = {f"/{verb}{path}" for verb in ("score", "reward") for path in ("", "/egreedy", "/egreedy/v2")}
    assert tried >= bodies | {"/generate", "/decisions", "/decisions/batch", "/decisions/{decision_id}/reward"}
    if mode is GenerationMode.POSITIVE:
        assert tried >= {"/stats/{user_id}", "/features/{user_id}", "/reset/{user_id}", "/health"}
