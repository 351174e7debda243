"""POST /generate against a real LiteLLM proxy: `./dev e2e`.

The proxy gets an environment of its own under .cache, since it pins what the service pins otherwise; its models answer
offline. Each case is an HTTP request to `python -m app`. Ends with a line "N passed, 0 failed".
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.environments import python_environment
from tests.support.processes import HOST, Server, free_port
from tests.support.service import service

HERE = Path(__file__).parent
LOCK = HERE / "requirements.lock"
KEY = "sk-offline-0123456789"
WRONG_KEY = "sk-wrong-9876543210"
BODY = {"user_id": "ada", "context": {"tasks": [{"title": "Report"}], "hour_of_day": 9, "day_of_week": 2}, "n": 3}


class Proxy(Server):
    """The LiteLLM proxy, which takes its time to start."""

    def wait_ready(self, seconds: float = 300.0) -> None:
        super().wait_ready(seconds)


def alive(server: Server) -> bool:
    try:
        return httpx.get(f"{server.url}/health/liveliness", timeout=5).is_success
    except httpx.HTTPError:
        return False


@contextmanager
def litellm() -> Iterator[Proxy]:
    """The real proxy with the models of litellm.yaml, on a free port."""
    program = python_environment("litellm-venv", LOCK) / "litellm"
    environ = {name: os.environ[name] for name in ("HOME", "LANG", "PATH", "TMPDIR") if name in os.environ} | {
        "LITELLM_MASTER_KEY": KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="oo-", ignore_cleanup_errors=True) as directory:
        argv: list[str | Path] = [program, "--config", HERE / "litellm.yaml", "--host", HOST, "--port", str(port)]
        proxy = Proxy(
            argv, port=port, url=f"http://{HOST}:{port}", directory=Path(directory), ready=alive, environ=environ
        )
        try:
            yield proxy.start()
        finally:
            proxy.kill()


@contextmanager
def generating(url: str, key: str = KEY) -> Iterator[Callable[..., httpx.Response]]:
    """The service with this proxy; called with fields of the request, it answers with the response."""
    # However long the proxy takes for those before it, on a busy machine too, a call gets its turn.
    settings = {"LITELLM_URL": url, "LITELLM_MASTER_KEY": key, "LLM_QUEUE_SECONDS": "300"}
    with service(settings) as server:
        with httpx.Client(base_url=server.url, timeout=600) as client:
            yield lambda **fields: client.post("/generate", json={**BODY, **fields})
        server.stop()
        assert KEY not in server.log, "the key is in the service's log"
        assert WRONG_KEY not in server.log, "the wrong key is in the service's log"


def expect(response: httpx.Response, status: int, *texts: str) -> Any:
    """The JSON of a response that must have this status and hold these texts, and never a key."""
    assert response.status_code == status, f"{response.status_code}, not {status}: {response.text}"
    for text in texts:
        assert text in response.text, f"no {text!r} in {response.text}"
    for secret in (KEY, WRONG_KEY, WRONG_KEY[-4:]):
        assert secret not in response.text, "a key is in the answer"
    return response.json()


# The cases: each says in a sentence what must be so


def fenced(proxy: Proxy) -> None:
    """A fenced reply with text around it becomes candidates with distinct ids, at most n of them."""
    with generating(proxy.url) as generate:
        for version in ("v1", "v2"):
            answer = expect(generate(prompt_version=version), 200)
            assert [tip["id"] for tip in answer["candidates"]] == ["walk", "tip-1", "walk-2"], answer
            assert answer["candidates"][0] == {
                "id": "walk",
                "content": "Take a walk before lunch.",
                "source": "llm",
                "rationale": "The sun is out.",
            }, answer
            assert answer["prompt_version"] == version, answer
            assert (answer["model"], answer["prompt_tokens"] > 0, answer["completion_tokens"] > 0) == (
                "tip-generator",
                True,
                True,
            ), answer
        expect(generate(prompt_version="v99"), 422, "v1, v2")


def bare(proxy: Proxy) -> None:
    """A bare reply with fewer tips than asked for is answered as it is."""
    with generating(f"{proxy.url}/engines/bare/") as generate:
        answer = expect(generate(), 200)
        assert [tip["content"] for tip in answer["candidates"]] == ["Stretch."], answer


def many(proxy: Proxy) -> None:
    """Sixty-four requests at once are all answered, those beyond LLM_MAX_CONCURRENCY after a wait."""
    with generating(proxy.url) as generate, ThreadPoolExecutor(64) as pool:
        for response in pool.map(lambda _: generate(), range(64)):
            expect(response, 200, "Call the plumber.")


def refusal(proxy: Proxy) -> None:
    """A model that never answers with JSON: 502 with what it said."""
    with generating(f"{proxy.url}/engines/refusal") as generate:
        expect(generate(), 502, "no JSON array", "I'm sorry, but I can't help with that.")


def wrapped(proxy: Proxy) -> None:
    """A model that answers with an object instead of an array: 502 with what was wrong."""
    with generating(f"{proxy.url}/engines/object") as generate:
        expect(generate(), 502, "an object, not an array")


def limited(proxy: Proxy) -> None:
    """A model over its limit: 503 with the proxy's message."""
    with generating(f"{proxy.url}/engines/limited") as generate:
        expect(generate(), 503, "RateLimitError")


def broken(proxy: Proxy) -> None:
    """A model that fails: 502 with the proxy's message."""
    with generating(f"{proxy.url}/engines/broken") as generate:
        expect(generate(), 502, "answered 500", "InternalServerError")


def unknown(proxy: Proxy) -> None:
    """A model the proxy does not have: 502 with the proxy's message."""
    with generating(f"{proxy.url}/engines/nobody") as generate:
        expect(generate(), 502, "answered 400", "Invalid model name")


def elsewhere(proxy: Proxy) -> None:
    """A LITELLM_URL that leads to another page: 502."""
    with generating(f"{proxy.url}/no/such/place") as generate:
        expect(generate(), 502, "the LLM proxy answered 40")


def wrong_key(proxy: Proxy) -> None:
    """A key the proxy does not take: 502, and the key is nowhere in it."""
    with generating(proxy.url, key=WRONG_KEY) as generate:
        expect(generate(), 502, "the LLM proxy answered 40")


def killed(proxy: Proxy) -> None:
    """The proxy is killed and comes back: 503 meanwhile, and answers again without a restart of the service."""
    with generating(proxy.url) as generate:
        expect(generate(), 200)
        proxy.kill()
        expect(generate(), 503, "cannot be reached")
        proxy.start()
        expect(generate(), 200)


CASES = [fenced, bare, many, refusal, wrapped, limited, broken, unknown, elsewhere, wrong_key, killed]


def main() -> int:
    started = time.monotonic()
    failed = 0
    with litellm() as proxy:
        print(f"LiteLLM proxy started on {proxy.url}", flush=True)
        for case in CASES:
            try:
                case(proxy)
            except Exception as error:  # noqa: BLE001 (a case that breaks in any way has failed, and the next one runs)
                failed += 1
                print(f"FAILED  {case.__doc__}\n        {type(error).__name__}: {error}", flush=True)
            else:
                print(f"ok      {case.__doc__}", flush=True)
    print(f"{len(CASES) - failed} passed, {failed} failed in {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
