"""POST /generate and GET /prompts."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from app.messages.basics import Hour, Profile, UserId, Weekday

__all__ = ["GenerateAnswer", "GenerateContext", "GenerateRequest", "GeneratedCandidate", "PromptList"]


class GenerateContext(msgspec.Struct, frozen=True):
    """What the language model is told: the user's tasks, the moment, and anything else."""

    tasks: list[dict[str, Any]] = []
    hour_of_day: Hour = 12
    day_of_week: Weekday = 0
    extra: dict[str, Any] = {}


class GenerateRequest(msgspec.Struct, frozen=True):
    """Make `n` candidates for this user; `profile_features` is taken and not shown to the model."""

    user_id: UserId
    context: GenerateContext = msgspec.field(default_factory=GenerateContext)
    n: Annotated[int, Meta(ge=1, le=20)] = 3
    prompt_version: str | None = None
    profile_features: Profile = None


class GeneratedCandidate(msgspec.Struct, frozen=True):
    """A tip the language model made."""

    id: str
    content: str
    rationale: str | None = None
    source: str = "llm"


class GenerateAnswer(msgspec.Struct, frozen=True):
    """The tips and what they cost, tokens summed over all tries."""

    candidates: list[GeneratedCandidate]
    model: str
    prompt_version: str
    prompt_tokens: int
    completion_tokens: int


class PromptList(msgspec.Struct, frozen=True):
    """The prompt versions, and which is used when a request names none."""

    versions: list[str]
    default: str
