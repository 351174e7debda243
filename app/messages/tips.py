"""POST /generate and GET /prompts."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from app.messages.basics import Hour, Profile, UserId, Weekday

__all__ = ["GenerateAnswer", "GenerateContext", "GenerateRequest", "GeneratedCandidate", "PromptList"]


class GenerateContext(msgspec.Struct, frozen=True):
    """The input of the language model: the user's tasks, the moment, and anything else."""

    tasks: list[dict[str, Any]] = []
    hour_of_day: Hour = 12
    day_of_week: Weekday = 0
    extra: dict[str, Any] = {}


class GenerateRequest(msgspec.Struct, frozen=True):
    """Make `n` candidates for this user. `profile_features` is accepted, but the model does not see it."""

    user_id: UserId
    context: GenerateContext = msgspec.field(default_factory=GenerateContext)
    n: Annotated[int, Meta(ge=1, le=20)] = 3
    prompt_version: str | None = None
    profile_features: Profile = None


class GeneratedCandidate(msgspec.Struct, frozen=True):
    """A tip from the language model."""

    id: str
    content: str
    rationale: str | None = None
    source: str = "llm"


class GenerateAnswer(msgspec.Struct, frozen=True):
    """The tips, and the tokens they cost, summed over all tries."""

    candidates: list[GeneratedCandidate]
    model: str
    prompt_version: str
    prompt_tokens: int
    completion_tokens: int


class PromptList(msgspec.Struct, frozen=True):
    """The prompt versions, and the one that is used when a request names none."""

    versions: list[str]
    default: str
