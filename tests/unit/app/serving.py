"""The whole service in this process, over `memory://`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
from litestar import Litestar

from app.main import create_app
from app.settings import Secret, Settings

NOW = 1_795_438_044.0
SCORE = {
    "user_id": "ann",
    "candidates": [
        {"id": "a", "content": "x", "source": "s", "features": {"priority": 4}},
        {"id": "b", "content": "y", "source": "s"},
    ],
}
REWARD = {"user_id": "ann", "tip_id": "a", "reward": 1, "features": {"priority": 4}}


def no_model(_: httpx.Request) -> httpx.Response:
    raise AssertionError("the language model was asked")


@asynccontextmanager
async def serving(
    model: Callable[[httpx.Request], Any] = no_model, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a started service."""
    app: Any = create_app(
        Settings(litellm_master_key=Secret("sk-1"), **settings),
        clock=lambda: NOW,
        llm_transport=httpx.MockTransport(model),
    )
    inner = app
    while not isinstance(inner, Litestar):
        inner = inner._app
    transport = httpx.ASGITransport(cast("Any", app))
    async with inner.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        yield client
