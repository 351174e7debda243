"""POST /generate, tips from the language model, and GET /prompts, the versions of its prompt."""

from typing import Any, Final

from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler

from app.http.access import CLIENT
from app.http.body import Answer, read_body, while_connected
from app.messages.reading import Reader
from app.messages.tips import GenerateAnswer, GeneratedCandidate, GenerateRequest, PromptList
from app.precedence import Precedence
from app.tips import generate as tips
from app.tips.chat import ChatClient
from app.tips.prompts import Prompts

__all__ = ["generate_routes"]

_read: Final = Reader(GenerateRequest)


def generate_routes(
    chat: ChatClient,
    prompts: Prompts,
    max_body_bytes: int,
    precedence: Precedence,
    observer: tips.Observer | None = None,
) -> list[HTTPRouteHandler]:
    """Both routes. `precedence` lets decisions go first; `observer` counts generations."""

    @post("/generate", status_code=200, opt=CLIENT)
    async def generate(request: Request[Any, Any, Any]) -> Answer:
        body = await read_body(request, max_body_bytes)
        await precedence.give_way()
        asked = _read(body)
        found = await while_connected(
            request,
            tips.generate(
                chat,
                prompts,
                n=asked.n,
                prompt_version=asked.prompt_version,
                tasks=asked.context.tasks,
                hour_of_day=asked.context.hour_of_day,
                day_of_week=asked.context.day_of_week,
                extra=asked.context.extra,
                observer=observer,
            ),
        )
        await precedence.give_way()
        candidates = [GeneratedCandidate(tip.id, tip.content, tip.rationale) for tip in found.candidates]
        return Answer(
            GenerateAnswer(candidates, found.model, found.prompt_version, found.prompt_tokens, found.completion_tokens)
        )

    @get("/prompts", sync_to_thread=False, opt=CLIENT)
    def versions() -> PromptList:
        return PromptList(list(prompts.versions), prompts.default)

    return [generate, versions]
