"""The document that is made of routes, descriptions and messages."""

from typing import Any

import pytest
from litestar import get, post

from app.reference.openapi import document


@post("/score", opt={"role": "client"})
async def score() -> None: ...


@get("/stats/{user_id:str}")
async def stats(user_id: str) -> None: ...


@get("/prompts")
async def prompts() -> None: ...


@post("/generate")
async def generate() -> None: ...


@get("/unknown")
async def unknown() -> None: ...


def made() -> dict[str, Any]:
    return document([stats, unknown, score])


def test_only_described_routes_are_shown_in_order() -> None:
    """A route without a description has none, and one that is not registered is left out."""
    assert [(path, list(methods)) for path, methods in made()["paths"].items()] == [
        ("/score", ["post"]),
        ("/stats/{user_id}", ["get"]),
    ]


def test_a_role_brings_its_refusals() -> None:
    """A route that needs a key can answer 401, 403 and 429; another cannot."""
    operation = made()["paths"]["/score"]["post"]
    assert operation["security"] == [{"key": ["client"]}, {}]
    assert list(operation["responses"]) == ["200", "401", "403", "413", "422", "429", "500", "503"]
    assert "Retry-After" in operation["responses"]["429"]["headers"]
    open_to_all = made()["paths"]["/stats/{user_id}"]["get"]
    assert "security" not in open_to_all
    assert list(open_to_all["responses"]) == ["200", "422", "500", "503"]


def test_parameters_and_messages_are_described() -> None:
    """The user id has its bounds, theta the features of each policy, objects without known fields may have any."""
    [user] = made()["paths"]["/stats/{user_id}"]["get"]["parameters"]
    assert (user["name"], user["schema"]["maxLength"]) == ("user_id", 256)
    schemas = made()["components"]["schemas"]
    assert "hour_sin" in schemas["StatisticsAnswer"]["properties"]["theta"]["description"]
    assert "Candidate" in schemas
    assert "GenerateRequest" not in schemas
    assert "\n" not in schemas["ProfileFeatures"]["description"]


@pytest.mark.parametrize(
    ("message", "required"),
    [
        ("ScoreRequest", ["user_id", "candidates"]),
        ("ScoreContext", []),  # part of a request
        ("GenerateRequest", ["user_id"]),
        ("GeneratedCandidate", ["id", "content", "rationale", "source"]),  # part of an answer
        ("ErrorAnswer", ["detail"]),
    ],
)
def test_required_alone_says_what_is_there(message: str, required: list[str]) -> None:
    """A default lets a field be left out of a request, but not of an answer; it is told in words, unless it is null."""
    schemas = document([score, stats, generate, prompts])["components"]["schemas"]
    assert schemas[message]["required"] == required
    for schema in schemas.values():
        assert not [field for field, type_ in schema["properties"].items() if "default" in type_]
    assert schemas["ScoreContext"]["properties"]["hour_of_day"]["description"] == "Default: `12`."
    assert schemas["CandidateFeatures"]["properties"]["is_overdue"]["description"] == "Default: `false`."
    assert "description" not in schemas["Candidate"]["properties"]["source_id"]
    assert schemas["PromptList"]["properties"]["default"] == {"type": "string"}  # a field of this name is left alone
